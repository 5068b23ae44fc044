#define _GNU_SOURCE
#include "process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int limit(int resource, unsigned long value) {
  struct rlimit l = {value, value};
  return value == 0 ? 0 : setrlimit(resource, &l);
}

// Only async-signal-safe calls from here: other threads may hold any lock at the moment of the fork.
static void child(const struct skerry_spawn *what, pid_t parent, int report) {
  if (setpgid(0, 0) != 0) goto failed;
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) goto failed;
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  enum { standard = 3, most_passed = 32 };
  int count = standard + (int)what->passed_count;
  int wanted[standard + most_passed] = {what->standard_input, what->standard_output, what->standard_error};
  for (int i = standard; i < count; i++) wanted[i] = what->passed[i - standard];
  // Out of the way of 0, 1, 2 and so on first, so that none is overwritten before it is used.
  for (int i = 0; i < count; i++) {
    wanted[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, standard + most_passed);
    if (wanted[i] < 0) goto failed;
  }
  // Before the descriptors are cleared away: whatever it starts is in the group from the beginning.
  if (what->group >= 0 && write(what->group, "0", 1) != 1) goto failed;
  int kept = fcntl(report, F_DUPFD_CLOEXEC, standard + most_passed);
  if (kept < 0) goto failed;
  report = kept;
  for (int i = 0; i < count; i++) {
    if (dup2(wanted[i], i) < 0) goto failed;
  }
  if (syscall(SYS_close_range, count, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
    long most = sysconf(_SC_OPEN_MAX);
    for (int i = count; i < (most > 0 && most < 65536 ? most : 65536); i++) fcntl(i, F_SETFD, FD_CLOEXEC);
  }
  for (int number = 1; number < NSIG; number++) {
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigaction(number, &plain, NULL);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  if (what->nice != 0) {
    errno = 0;
    if (nice(what->nice) == -1 && errno != 0) goto failed;
  }
  if (limit(RLIMIT_AS, what->address_space) != 0 || limit(RLIMIT_NOFILE, what->open_files) != 0) goto failed;
  if (limit(RLIMIT_DATA, what->data) != 0 || limit(RLIMIT_FSIZE, what->file_size) != 0) goto failed;
  struct rlimit none_kept = {0, 0};
  if (what->no_core && setrlimit(RLIMIT_CORE, &none_kept) != 0) goto failed;
  execve(what->path, what->arguments, what->environment);
failed:;
  int code = errno;
  while (write(report, &code, sizeof code) < 0 && errno == EINTR) {
  }
  _exit(127);
}

int skerry_spawn(const struct skerry_spawn *what, pid_t *pid, int *pidfd) {
  if (what->passed_count > 32) return E2BIG;
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return errno;
  pid_t parent = getpid();
  // No handler of ours may run in the child before it has reset them all.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t started = fork();
  if (started == 0) child(what, parent, report[1]);
  int code = started < 0 ? errno : 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(report[1]);
  if (started > 0) {
    int said = 0;
    ssize_t got;
    do {
      got = read(report[0], &said, sizeof said);
    } while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof said) {
      code = said;
    } else {
      *pidfd = (int)syscall(SYS_pidfd_open, started, 0);
      if (*pidfd < 0) {
        code = errno;
        kill(started, SIGKILL);
      }
    }
    if (code != 0) {
      while (waitpid(started, NULL, 0) < 0 && errno == EINTR) {
      }
    }
  }
  close(report[0]);
  *pid = started;
  return code;
}

static atomic_int signal_pipe = -1;

static void on_signal(int number) {
  int saved = errno;
  unsigned char byte = (unsigned char)number;
  // The pipe does not block: a full one already holds news.
  ssize_t ignored = write(atomic_load(&signal_pipe), &byte, 1);
  (void)ignored;
  errno = saved;
}

int skerry_signals_to_pipe(const int *numbers, size_t count, int descriptor) {
  atomic_store(&signal_pipe, descriptor);
  for (size_t i = 0; i < count; i++) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(numbers[i], &action, NULL) != 0) return errno;
  }
  return 0;
}

int skerry_ignore_signal(int number) {
  struct sigaction action = {.sa_handler = SIG_IGN};
  sigemptyset(&action.sa_mask);
  return sigaction(number, &action, NULL) == 0 ? 0 : errno;
}

int skerry_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno; }

int skerry_route_socket(void) {
  int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (descriptor < 0) return -errno;
  struct sockaddr_nl address = {.nl_family = AF_NETLINK,
                                .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
  if (bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
    int code = errno;
    close(descriptor);
    return -code;
  }
  return descriptor;
}

void skerry_be_idle(void) {
  // ioprio_set(2): IOPRIO_WHO_PROCESS is 1 and IOPRIO_CLASS_IDLE is 3, in the upper bits. Both calls are about this
  // thread alone; where they are refused the work is merely less gentle.
  (void)syscall(SYS_ioprio_set, 1, 0, 3 << 13);
  (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
}

void skerry_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

const char *skerry_image(void) {
  Dl_info found;
  return dladdr((void *)skerry_image, &found) != 0 ? found.dli_fname : NULL;
}
