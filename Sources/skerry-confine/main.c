// skerry-confine: the first program inside an engine's sandbox.
//   skerry-confine [--processes N] [--relay FD PORT] [--stop-after MS] -- PROGRAM ARGUMENT…
//   skerry-confine --check
// Bounds how many processes and threads there may be, closes every descriptor that the engine was not given, and becomes
// the engine. With --relay or --stop-after it stays beside the engine instead: it carries what arrives at the listening
// Unix socket FD to the engine's port on 127.0.0.1, which nobody outside of the sandbox can reach, and turns end-of-file
// on its standard input into SIGTERM, then SIGKILL after MS milliseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { most_pairs = 256, buffer_size = 32 << 10, standard = 3 };

static void fail(const char *what) {
  fprintf(stderr, "skerry-confine: %s: %s\n", what, strerror(errno));
  exit(126);
}

static long number(const char *text, long most) {
  char *end = NULL;
  long value = text ? strtol(text, &end, 10) : -1;
  if (!text || *text == 0 || *end != 0 || value < 0 || value > most) {
    fprintf(stderr, "skerry-confine: \"%s\" is no number from 0 to %ld\n", text ? text : "", most);
    exit(64);
  }
  return value;
}

// One direction of a connection: what was read at `from` and is not yet written at `to`.
struct flow {
  int from, to;
  size_t start, end;
  int is_over;
  char bytes[buffer_size];
};

struct pair {
  int client, engine;
  struct flow up, down;
};

static struct pair *pairs[most_pairs];

static void drop(int index) {
  close(pairs[index]->client);
  close(pairs[index]->engine);
  free(pairs[index]);
  pairs[index] = NULL;
}

// Reads and writes what can be without waiting. False when the connection is broken.
static int move(struct flow *flow) {
  for (;;) {
    if (flow->start == flow->end) {
      if (flow->is_over) return 1;
      flow->start = flow->end = 0;
      ssize_t got = read(flow->from, flow->bytes, buffer_size);
      if (got < 0) return errno == EAGAIN || errno == EINTR;
      if (got == 0) {
        flow->is_over = 1;
        shutdown(flow->to, SHUT_WR);
        return 1;
      }
      flow->end = (size_t)got;
    }
    ssize_t put = send(flow->to, flow->bytes + flow->start, flow->end - flow->start, MSG_NOSIGNAL);
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    flow->start += (size_t)put;
  }
}

static void take(int listener, int port) {
  int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client < 0) return;
  int index = 0;
  while (index < most_pairs && pairs[index]) index++;
  int engine = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  struct pair *made = index < most_pairs ? calloc(1, sizeof *made) : NULL;
  // On loopback a connection is made or refused at once.
  if (!made || engine < 0 || connect(engine, (struct sockaddr *)&address, sizeof address) != 0) {
    free(made);
    if (engine >= 0) close(engine);
    close(client);
    return;
  }
  fcntl(engine, F_SETFL, O_NONBLOCK);
  int on = 1;
  setsockopt(engine, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  *made = (struct pair){.client = client, .engine = engine};
  made->up.from = made->down.to = client;
  made->up.to = made->down.from = engine;
  pairs[index] = made;
}

static short wanted(const struct flow *in, const struct flow *out) {
  short events = 0;
  if (!in->is_over && in->start == in->end) events |= POLLIN;
  if (out->start != out->end) events |= POLLOUT;
  return events;
}

static long now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

// Until the engine has ended; the exit status is the engine's.
static int stay(pid_t engine, int children, int listener, int port, long grace) {
  static struct pollfd polled[3 + 2 * most_pairs];
  static int owner[3 + 2 * most_pairs];
  long deadline = -1;
  int input = 0;
  for (;;) {
    int status;
    if (waitpid(engine, &status, WNOHANG) == engine) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    int count = 0;
    polled[count++] = (struct pollfd){.fd = children, .events = POLLIN};
    polled[count++] = (struct pollfd){.fd = input, .events = POLLIN};
    polled[count++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < most_pairs; i++) {
      if (!pairs[i]) continue;
      owner[count] = i;
      polled[count++] = (struct pollfd){.fd = pairs[i]->client, .events = wanted(&pairs[i]->up, &pairs[i]->down)};
      owner[count] = i;
      polled[count++] = (struct pollfd){.fd = pairs[i]->engine, .events = wanted(&pairs[i]->down, &pairs[i]->up)};
    }
    long wait = deadline < 0 ? -1 : deadline - now_ms();
    if (deadline >= 0 && wait <= 0) {
      kill(engine, SIGKILL);
      wait = 100;
    }
    if (poll(polled, (nfds_t)count, (int)wait) < 0) continue;
    if (polled[0].revents) {
      struct signalfd_siginfo ignored;
      while (read(children, &ignored, sizeof ignored) > 0) {
      }
    }
    if (polled[1].revents) {
      char ignored[64];
      if (read(0, ignored, sizeof ignored) <= 0) {
        input = -1;
        kill(engine, SIGTERM);
        deadline = now_ms() + grace;
      }
    }
    for (int i = standard; i + 1 < count; i += 2) {
      struct pair *pair = pairs[owner[i]];
      // A client that has gone altogether: the engine is to know at once.
      if ((polled[i].revents | polled[i + 1].revents) & (POLLERR | POLLNVAL) || polled[i].revents & POLLHUP) {
        drop(owner[i]);
        continue;
      }
      if (!polled[i].revents && !polled[i + 1].revents) continue;
      if (!move(&pair->up) || !move(&pair->down) || (pair->up.is_over && pair->down.is_over && pair->down.start == pair->down.end))
        drop(owner[i]);
    }
    if (polled[2].revents & POLLIN) take(listener, port);
  }
}

int main(int count, char **words) {
  int listener = -1, port = 0, stays = 0, at = 1;
  long grace = 2000;
  if (count == 2 && strcmp(words[1], "--check") == 0) return 0;
  for (; at < count && strcmp(words[at], "--") != 0; at++) {
    if (strcmp(words[at], "--processes") == 0) {
      rlim_t most = (rlim_t)number(words[++at], 1 << 22);
      struct rlimit bound = {most, most};
      if (setrlimit(RLIMIT_NPROC, &bound) != 0) fail("RLIMIT_NPROC");
    } else if (strcmp(words[at], "--relay") == 0 && at + 2 < count) {
      listener = (int)number(words[++at], 1023);
      port = (int)number(words[++at], 65535);
      stays = 1;
    } else if (strcmp(words[at], "--stop-after") == 0) {
      grace = number(words[++at], 600000);
      stays = 1;
    } else {
      fprintf(stderr, "skerry-confine: %s is no option\n", words[at]);
      return 64;
    }
  }
  if (at + 1 >= count) {
    fprintf(stderr, "skerry-confine: there is no program to start\n");
    return 64;
  }
  char **program = words + at + 1;
  // What is left open by whoever started this is not for the engine.
  if (listener < 0) {
    if (syscall(SYS_close_range, standard, ~0U, 0) != 0) fail("close_range");
  } else {
    if (dup2(listener, standard) < 0) fail("the relay's socket");
    listener = standard;
    if (syscall(SYS_close_range, standard + 1, ~0U, 0) != 0) fail("close_range");
    fcntl(listener, F_SETFD, FD_CLOEXEC);
    fcntl(listener, F_SETFL, O_NONBLOCK);
  }
  if (!stays) {
    execv(program[0], program);
    fail(program[0]);
  }
  sigset_t child, before;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, &before);
  int children = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
  if (children < 0) fail("signalfd");
  pid_t self = getpid(), engine = fork();
  if (engine < 0) fail("fork");
  if (engine == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self) _exit(126);
    sigprocmask(SIG_SETMASK, &before, NULL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0) dup2(null, 0);
    if (null > 2) close(null);
    execv(program[0], program);
    fail(program[0]);
  }
  return stay(engine, children, listener, port, grace);
}
