"""Programs whose wall clock a test sets, with Debian's libfaketime. The monotonic clock stays the real one."""

import atexit
import glob
import pathlib
import shutil
import subprocess
import tempfile
import time

LIBRARY = (glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") or [None])[0]
_shared = None


def shared():
    """The shared memory that the library would otherwise make at each start. It then changes the environment, and a Swift
    program no longer finds its arguments; so one `faketime` that sleeps keeps it for all."""
    global _shared
    if _shared is None:
        keeper = subprocess.Popen(["faketime", "-m", "-f", "+0", "sleep", "3600"], stdout=subprocess.PIPE)
        atexit.register(lambda: (keeper.terminate(), keeper.wait()))
        for _ in range(200):
            children = pathlib.Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
            for pid in [str(keeper.pid), *children]:
                words = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
                found = [w for w in words if w.startswith("FAKETIME_SHARED=")]
                if found:
                    _shared = found[0].split("=", 1)[1]
                    atexit.register(lambda pids=[p for p in children]: subprocess.run(["kill", *pids], check=False))
                    return _shared
            time.sleep(0.02)
        raise RuntimeError("faketime made no shared memory")
    return _shared


# The library adds its offset to every timer, those of the monotonic clock included: a sleep of a second would take
# years. This hands timers to the kernel as they are.
TIMERS = """
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>
extern "C" int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old) {
  return syscall(SYS_timerfd_settime, fd, flags, value, old);
}
"""
_timers = None


def timers():
    """The path of a small library with the true timerfd_settime."""
    global _timers
    if _timers is None:
        home = pathlib.Path(tempfile.mkdtemp(prefix="skerry-timers-"))
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        (home / "timers.cc").write_text(TIMERS)
        subprocess.run(["g++", "-shared", "-fPIC", "-o", home / "timers.so", home / "timers.cc"], check=True)
        _timers = str(home / "timers.so")
    return _timers


class FakeClock:
    """A wall clock in a file: programs that were started with `environment` follow it at once."""

    def __init__(self, path, offset=0):
        self.path = pathlib.Path(path)
        self.set(offset)
        self.environment = {
            "LD_PRELOAD": f"{timers()} {LIBRARY}", "FAKETIME_TIMESTAMP_FILE": str(self.path), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_SHARED": shared(), "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset):
        """Seconds ahead of the real clock; behind it when negative."""
        self.offset = offset
        whole = self.path.with_suffix(".new")
        whole.write_text(f"{offset:+d}\n")
        whole.rename(self.path)
