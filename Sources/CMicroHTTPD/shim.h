// libmicrohttpd, wrapped once by Web. MHD_start_daemon is variadic; MHD_OPTION_ARRAY carries the rest.
// Beside it the kernel calls of a server that Swift's Glibc lacks: epoll, and who is on a Unix socket.
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static inline struct MHD_Daemon *skerry_mhd_start(unsigned int flags, uint16_t port,
                                                  MHD_AccessHandlerCallback handler, void *context,
                                                  struct MHD_OptionItem *options) {
  return MHD_start_daemon(flags, port, NULL, NULL, handler, context, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
}
static inline int skerry_mhd_socket(struct MHD_Connection *c) {
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
  return i ? i->connect_fd : -1;
}
static inline size_t skerry_mhd_header_size(struct MHD_Connection *c) {
  const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
  return i ? i->header_size : 0;
}
// SO_PEERCRED's answer; 0 when the kernel gave one. struct ucred, spelt out: glibc hides it behind _GNU_SOURCE.
static inline int skerry_peer_credentials(int fd, unsigned int *uid, unsigned int *gid, int *pid) {
  struct { int pid; unsigned int uid; unsigned int gid; } c;
  socklen_t n = sizeof c;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) != 0) return -1;
  *uid = c.uid;
  *gid = c.gid;
  *pid = c.pid;
  return 0;
}
static inline int skerry_epoll_new(void) { return epoll_create1(EPOLL_CLOEXEC); }
static inline int skerry_event_new(void) { return eventfd(0, EFD_CLOEXEC); }
static inline int skerry_timer_new(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); }
// Fires once after so many milliseconds (at least one).
static inline int skerry_timer_set(int timer, int64_t ms) {
  if (ms < 1) ms = 1;
  struct itimerspec t = {.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};
  return timerfd_settime(timer, 0, &t, NULL);
}
static inline int skerry_epoll_input(int epoll, int fd, uint64_t key) {
  struct epoll_event e = {.events = EPOLLIN, .data = {.u64 = key}};
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
}
static inline int skerry_epoll_hangup(int epoll, int fd, uint64_t key) {
  struct epoll_event e = {.events = EPOLLRDHUP | EPOLLHUP | EPOLLONESHOT, .data = {.u64 = key}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0) return 0;
  return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &e);
}
static inline int skerry_epoll_forget(int epoll, int fd) { return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); }
// Waits for up to 64 events and writes their keys; the count, or -1.
static inline int skerry_epoll_wait(int epoll, uint64_t *keys) {
  struct epoll_event events[64];
  int n = epoll_wait(epoll, events, 64, -1);
  for (int i = 0; i < n; i++) keys[i] = events[i].data.u64;
  return n;
}
