// skerry-probe NAME [ARGUMENT]: tries one way out of an engine's sandbox. For tests; changes nothing that stays.
// Says "ESCAPED" and ends with 0 when it got through, "denied" and 1 when it did not.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Each returns 0 or more when it got through, and -1 with errno when it did not.

static long connect_out(const char *unused) {
  (void)unused;
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  // Nothing is sent: the kernel only looks for a way there (TEST-NET-1).
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
  to.sin_addr.s_addr = htonl(0xC0000201);
  return s < 0 ? -1 : connect(s, (struct sockaddr *)&to, sizeof to);
}

static long host_loopback(const char *port) {
  int s = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return s < 0 ? -1 : connect(s, (struct sockaddr *)&to, sizeof to);
}

static long unix_connect(const char *name, int is_abstract) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path + is_abstract, name, sizeof to.sun_path - 2);
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)is_abstract + strlen(name));
  return s < 0 ? -1 : connect(s, (struct sockaddr *)&to, length + (is_abstract ? 0 : 1));
}

static long abstract_socket(const char *name) { return unix_connect(name, 1); }
static long host_socket(const char *path) { return unix_connect(path, 0); }
static long netlink(const char *unused) { return (void)unused, socket(AF_NETLINK, SOCK_RAW, 0); }

static long read_file(const char *path) {
  char byte;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  return file < 0 ? -1 : read(file, &byte, 1);
}

static long write_file(const char *path) { return open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK); }

static long create_file(const char *folder) {
  char path[4096];
  snprintf(path, sizeof path, "%s/skerry-probe-%d", folder, getpid());
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file >= 0) unlink(path);
  return file;
}

static long make_device(const char *folder) {
  char path[4096];
  snprintf(path, sizeof path, "%s/skerry-probe-device", folder);
  int code = mknod(path, S_IFCHR | 0600, 1 << 8 | 3);
  if (code == 0) unlink(path);
  return code;
}

static long open_device(const char *path) { return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); }

static long trace(const char *pid) {
  long code = ptrace(PTRACE_ATTACH, atoi(pid), 0, 0);
  if (code == 0) {
    waitpid(atoi(pid), NULL, __WALL);
    ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
  }
  return code;
}

static long read_memory(const char *pid) {
  char path[64], line[512] = "";
  snprintf(path, sizeof path, "/proc/%s/maps", pid);
  FILE *maps = fopen(path, "r");
  unsigned long start = 0;
  if (maps && fgets(line, sizeof line, maps)) start = strtoul(line, NULL, 16);
  char byte;
  struct iovec here = {&byte, 1}, there = {(void *)start, 1};
  return syscall(SYS_process_vm_readv, atoi(pid), &here, 1, &there, 1, 0);
}

static long signal_host(const char *pid) { return kill(atoi(pid), SIGCONT); }

static long see_process(const char *pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/stat", pid);
  return access(path, F_OK);
}

static long bomb(const char *count, int is_thread_like) {
  static pid_t children[100000];
  int wanted = atoi(count), made = 0;
  for (; made < wanted && made < 100000; made++) {
    pid_t child = is_thread_like ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
    if (child < 0) break;
    if (child == 0) {
      pause();
      _exit(0);
    }
    children[made] = child;
  }
  int code = errno;
  for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
  for (int i = 0; i < made; i++) waitpid(children[i], NULL, 0);
  fprintf(stderr, "%d of %d started; ", made, wanted);
  errno = code;
  return made == wanted ? 0 : -1;
}

static long fork_bomb(const char *count) { return bomb(count, 0); }

// Without the C library, whose data of a thread all of these share.
static int waits(void *unused) {
  (void)unused;
  for (;;) syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}

static long thread_bomb(const char *count) {
  enum { most = 8000, size = 4096 };
  static char stacks[most * size] __attribute__((aligned(64)));
  int wanted = atoi(count);
  if (wanted > most) wanted = most;
  for (int made = 0; made < wanted; made++) {
    // Each only waits; the stacks are small, so that memory is no bound.
    char *top = stacks + (size_t)(made + 1) * size;
    if (clone(waits, top, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL) < 0) {
      fprintf(stderr, "%d of %d started; ", made, wanted);
      return -1;
    }
  }
  return 0;
}

static long map(int protection, int flags) {
  void *got = mmap(NULL, 2UL << 30, protection, flags | MAP_NORESERVE, -1, 0);
  return got == MAP_FAILED ? -1 : 0;
}

static long memory_bomb(const char *unused) { return (void)unused, map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS); }
static long shared_memory_bomb(const char *unused) {
  return (void)unused, map(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
}

static long memory_file(const char *unused) { return (void)unused, syscall(SYS_memfd_create, "probe", 0); }
static long make_code(const char *unused) {
  (void)unused;
  void *got = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return got == MAP_FAILED ? -1 : 0;
}

static long mount_something(const char *unused) {
  (void)unused;
  // In a namespace of its own wherever it may make one, so that nothing stays.
  if (unshare(CLONE_NEWNS) == 0) mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
  return mount("none", "/tmp", "tmpfs", 0, NULL);
}

static long new_user_namespace(const char *unused) { return (void)unused, unshare(CLONE_NEWUSER); }
static long clone_namespace(const char *unused) {
  (void)unused;
  long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) _exit(0);
  if (child > 0) waitpid((pid_t)child, NULL, 0);
  return child;
}
static long other_namespace(const char *pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/ns/mnt", pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  return file < 0 ? -1 : syscall(SYS_setns, file, 0) == 0 || errno == EINVAL ? 0 : -1;
}
static long keyring(const char *unused) { return (void)unused, syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -4, 1); }

static long load_bpf(const char *unused) {
  (void)unused;
  union bpf_attr what = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
  return syscall(SYS_bpf, BPF_MAP_CREATE, &what, sizeof what);
}

static long perf(const char *unused) {
  (void)unused;
  struct perf_event_attr what = {.type = PERF_TYPE_SOFTWARE, .size = sizeof what, .config = PERF_COUNT_SW_TASK_CLOCK};
  return syscall(SYS_perf_event_open, &what, 0, -1, -1, 0);
}

static long io_uring(const char *unused) {
  (void)unused;
  char parameters[256] = {0};
  return syscall(SYS_io_uring_setup, 4, parameters);
}

static long page_faults(const char *unused) { return (void)unused, syscall(SYS_userfaultfd, O_CLOEXEC); }
static long become_other(const char *unused) { return (void)unused, syscall(SYS_setuid, 65534); }
static long change_root(const char *unused) { return (void)unused, chroot("/"); }

static long new_privileges(const char *unused) {
  (void)unused;
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0) return 0;
  errno = EPERM;
  return -1;
}

static long type_into_terminal(const char *unused) {
  (void)unused;
  // A session leader can take a terminal; in the sandbox there is no second process to be one.
  pid_t child = fork();
  if (child > 0) {
    int status;
    waitpid(child, &status, 0);
    errno = EPERM;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
  }
  int master = posix_openpt(O_RDWR | O_NOCTTY), slave = -1;
  if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0) slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  setsid();
  if (slave >= 0) ioctl(slave, TIOCSCTTY, 0);
  long code = slave < 0 ? -1 : ioctl(slave, TIOCSTI, "x");
  if (child == 0) _exit(code == 0 ? 0 : 1);
  return code;
}

static long descriptors(const char *unused) {
  (void)unused;
  for (int i = 3; i < 1024; i++) {
    if (fcntl(i, F_GETFD) >= 0) return i;
  }
  return -1;
}

static long environment(const char *name) {
  errno = ENOENT;
  return getenv(name) ? 0 : -1;
}

static long run_shell(const char *unused) {
  (void)unused;
  char *const words[] = {"/bin/sh", "-c", "exit 0", NULL};
  execv(words[0], words);
  return -1;
}

static const struct {
  const char *name;
  long (*attempt)(const char *);
} probes[] = {
    {"connect-out", connect_out}, {"host-loopback", host_loopback}, {"abstract-socket", abstract_socket},
    {"host-socket", host_socket}, {"netlink", netlink}, {"read-file", read_file}, {"write-file", write_file},
    {"create-file", create_file}, {"make-device", make_device}, {"open-device", open_device}, {"trace", trace},
    {"read-memory", read_memory}, {"signal", signal_host}, {"see-process", see_process}, {"fork-bomb", fork_bomb},
    {"thread-bomb", thread_bomb}, {"memory-bomb", memory_bomb}, {"shared-memory-bomb", shared_memory_bomb},
    {"memory-file", memory_file}, {"make-code", make_code}, {"mount", mount_something},
    {"user-namespace", new_user_namespace}, {"clone-namespace", clone_namespace}, {"other-namespace", other_namespace},
    {"keyring", keyring}, {"bpf", load_bpf}, {"perf", perf}, {"io-uring", io_uring}, {"page-faults", page_faults},
    {"become-other", become_other}, {"change-root", change_root}, {"new-privileges", new_privileges},
    {"terminal", type_into_terminal}, {"descriptors", descriptors}, {"environment", environment}, {"shell", run_shell},
};

int main(int count, char **words) {
  for (size_t i = 0; count > 1 && i < sizeof probes / sizeof *probes; i++) {
    if (strcmp(words[1], probes[i].name) != 0) continue;
    errno = 0;
    if (probes[i].attempt(count > 2 ? words[2] : "") >= 0) {
      fprintf(stderr, "ESCAPED\n");
      // Not exit(): threads may wait on small stacks.
      _exit(0);
    }
    fprintf(stderr, "denied: %s\n", errno ? strerror(errno) : "nothing there");
    _exit(1);
  }
  fprintf(stderr, "no such probe\n");
  return 64;
}
