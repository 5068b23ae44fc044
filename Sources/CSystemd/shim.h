// libsystemd, wrapped once by Host: readiness, watchdog, socket activation, journal.
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
