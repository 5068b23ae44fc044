/// A system call by its numbers, and with which arguments it is allowed.
struct SeccompCall: Hashable {
  let name: String
  /// Nil where the architecture has no such call.
  let amd64: UInt32?
  let arm64: UInt32?
  let rule: SeccompRule

  init(_ name: String, _ amd64: UInt32?, _ arm64: UInt32?, _ rule: SeccompRule = .always) {
    self.name = name
    self.amd64 = amd64
    self.arm64 = arm64
    self.rule = rule
  }

  /// What an engine with this freedom may call. Those whose arguments matter come first.
  static func all(_ freedom: SeccompFilter.Freedom) -> [SeccompCall] {
    guarded(freedom) + memory + files + waiting + sockets + itself
      + (freedom.contains(.processes) ? processes : [])
      + (freedom.contains(.files) ? changes : [])
      + (freedom.contains(.code) ? [SeccompCall("memfd_create", 319, 279)] : [])
  }

  /// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
  private static let namespaces: UInt32 = 0x7E02_0000
  private static let thread: UInt32 = 0x0001_0000
  /// O_CREAT, and the bit of O_TMPFILE that is not O_DIRECTORY; the same numbers on both architectures.
  private static let creating: UInt32 = 0x0040_0040
  private static let writableAndExecutable: UInt32 = 2 | 4
  private static let sharedAndAnonymous: UInt32 = 1 | 0x20

  private static func guarded(_ freedom: SeccompFilter.Freedom) -> [SeccompCall] {
    let code = freedom.contains(.code)
    let opening = { (argument: Int) -> SeccompRule in
      freedom.contains(.files) ? .always : .bits(argument: argument, without: creating)
    }
    // AF_UNIX, AF_INET, AF_INET6. No netlink, packet, vsock, algorithm or Bluetooth sockets.
    let families: [UInt32] = freedom.contains(.internet) ? [1, 2, 10] : [1]
    return [
      SeccompCall(
        "mmap", 9, 222,
        code ? .always : .notTogether(argument: 2, [writableAndExecutable], more: 3, [sharedAndAnonymous])),
      SeccompCall("mprotect", 10, 226, code ? .always : .bits(argument: 2, without: 4)),
      SeccompCall(
        "clone", 56, 220,
        freedom.contains(.processes)
          ? .bits(argument: 0, without: namespaces) : .bits(argument: 0, without: namespaces, with: thread)),
      // Its flags lie in memory, where a filter can't look; the C library then falls back to clone.
      SeccompCall("clone3", 435, 435, .fails(38)),
      SeccompCall("open", 2, nil, opening(1)),
      SeccompCall("openat", 257, 56, opening(2)),
      SeccompCall("socket", 41, 198, .among(argument: 0, families)),
      SeccompCall("socketpair", 53, 199, .among(argument: 0, [1])),
      // TIOCSTI and TIOCLINUX put input into a terminal.
      SeccompCall("ioctl", 16, 29, .except(argument: 1, [0x5412, 0x541C])),
      // PR_SET_PDEATHSIG, GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, SET_TIMERSLACK, GET_TIMERSLACK,
      // SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS, SET_THP_DISABLE, GET_THP_DISABLE, SET_VMA.
      SeccompCall(
        "prctl", 157, 167, .among(argument: 0, [1, 3, 15, 16, 21, 23, 29, 30, 38, 39, 41, 42, 0x5356_4D41])),
    ]
  }

  private static let memory = [
    SeccompCall("munmap", 11, 215), SeccompCall("brk", 12, 214), SeccompCall("mremap", 25, 216),
    SeccompCall("msync", 26, 227), SeccompCall("mincore", 27, 232), SeccompCall("madvise", 28, 233),
    SeccompCall("mlock", 149, 228), SeccompCall("munlock", 150, 229), SeccompCall("mlock2", 325, 284),
    SeccompCall("membarrier", 324, 283), SeccompCall("mseal", 462, 462), SeccompCall("get_mempolicy", 239, 236),
  ]

  private static let files = [
    SeccompCall("read", 0, 63), SeccompCall("write", 1, 64), SeccompCall("close", 3, 57),
    SeccompCall("stat", 4, nil), SeccompCall("fstat", 5, 80), SeccompCall("lstat", 6, nil),
    SeccompCall("lseek", 8, 62), SeccompCall("pread64", 17, 67), SeccompCall("pwrite64", 18, 68),
    SeccompCall("readv", 19, 65), SeccompCall("writev", 20, 66), SeccompCall("preadv", 295, 69),
    SeccompCall("pwritev", 296, 70), SeccompCall("preadv2", 327, 286), SeccompCall("pwritev2", 328, 287),
    SeccompCall("access", 21, nil), SeccompCall("faccessat", 269, 48), SeccompCall("faccessat2", 439, 439),
    SeccompCall("dup", 32, 23), SeccompCall("dup2", 33, nil), SeccompCall("dup3", 292, 24),
    SeccompCall("fcntl", 72, 25), SeccompCall("flock", 73, 32), SeccompCall("fsync", 74, 82),
    SeccompCall("fdatasync", 75, 83), SeccompCall("getdents64", 217, 61), SeccompCall("getcwd", 79, 17),
    SeccompCall("chdir", 80, 49), SeccompCall("fchdir", 81, 50), SeccompCall("readlink", 89, nil),
    SeccompCall("readlinkat", 267, 78), SeccompCall("newfstatat", 262, 79), SeccompCall("statx", 332, 291),
    SeccompCall("statfs", 137, 43), SeccompCall("fstatfs", 138, 44), SeccompCall("umask", 95, 166),
    SeccompCall("sendfile", 40, 71), SeccompCall("readahead", 187, 213), SeccompCall("fadvise64", 221, 223),
    SeccompCall("pipe", 22, nil), SeccompCall("pipe2", 293, 59), SeccompCall("close_range", 436, 436),
  ]

  private static let waiting = [
    SeccompCall("poll", 7, nil), SeccompCall("ppoll", 271, 73), SeccompCall("select", 23, nil),
    SeccompCall("pselect6", 270, 72), SeccompCall("epoll_create", 213, nil), SeccompCall("epoll_create1", 291, 20),
    SeccompCall("epoll_ctl", 233, 21), SeccompCall("epoll_wait", 232, nil), SeccompCall("epoll_pwait", 281, 22),
    SeccompCall("epoll_pwait2", 441, 441), SeccompCall("eventfd", 284, nil), SeccompCall("eventfd2", 290, 19),
    SeccompCall("timerfd_create", 283, 85), SeccompCall("timerfd_settime", 286, 86),
    SeccompCall("timerfd_gettime", 287, 87), SeccompCall("nanosleep", 35, 101), SeccompCall("pause", 34, nil),
    SeccompCall("clock_nanosleep", 230, 115), SeccompCall("clock_gettime", 228, 113),
    SeccompCall("clock_getres", 229, 114), SeccompCall("gettimeofday", 96, 169), SeccompCall("time", 201, nil),
    SeccompCall("times", 100, 153), SeccompCall("getitimer", 36, 102), SeccompCall("setitimer", 38, 103),
    SeccompCall("alarm", 37, nil), SeccompCall("timer_create", 222, 107), SeccompCall("timer_settime", 223, 110),
    SeccompCall("timer_gettime", 224, 108), SeccompCall("timer_getoverrun", 225, 109),
    SeccompCall("timer_delete", 226, 111), SeccompCall("futex", 202, 98), SeccompCall("futex_waitv", 449, 449),
    SeccompCall("futex_wake", 454, 454), SeccompCall("futex_wait", 455, 455), SeccompCall("futex_requeue", 456, 456),
    SeccompCall("sched_yield", 24, 124), SeccompCall("restart_syscall", 219, 128),
  ]

  private static let sockets = [
    SeccompCall("connect", 42, 203), SeccompCall("accept", 43, 202), SeccompCall("accept4", 288, 242),
    SeccompCall("bind", 49, 200), SeccompCall("listen", 50, 201), SeccompCall("sendto", 44, 206),
    SeccompCall("recvfrom", 45, 207), SeccompCall("sendmsg", 46, 211), SeccompCall("recvmsg", 47, 212),
    SeccompCall("sendmmsg", 307, 269), SeccompCall("recvmmsg", 299, 243), SeccompCall("shutdown", 48, 210),
    SeccompCall("getsockname", 51, 204), SeccompCall("getpeername", 52, 205), SeccompCall("setsockopt", 54, 208),
    SeccompCall("getsockopt", 55, 209),
  ]

  /// About itself, and signals, which reach no process outside of its namespace.
  private static let itself = [
    SeccompCall("exit", 60, 93), SeccompCall("exit_group", 231, 94), SeccompCall("execve", 59, 221),
    SeccompCall("wait4", 61, 260), SeccompCall("waitid", 247, 95), SeccompCall("kill", 62, 129),
    SeccompCall("tkill", 200, 130), SeccompCall("tgkill", 234, 131), SeccompCall("rt_sigaction", 13, 134),
    SeccompCall("rt_sigprocmask", 14, 135), SeccompCall("rt_sigreturn", 15, 139),
    SeccompCall("rt_sigpending", 127, 136), SeccompCall("rt_sigtimedwait", 128, 137),
    SeccompCall("rt_sigsuspend", 130, 133), SeccompCall("sigaltstack", 131, 132),
    SeccompCall("signalfd4", 289, 74), SeccompCall("getpid", 39, 172), SeccompCall("getppid", 110, 173),
    SeccompCall("gettid", 186, 178), SeccompCall("getpgrp", 111, nil), SeccompCall("getpgid", 121, 155),
    SeccompCall("getsid", 124, 156), SeccompCall("getuid", 102, 174), SeccompCall("geteuid", 107, 175),
    SeccompCall("getgid", 104, 176), SeccompCall("getegid", 108, 177), SeccompCall("getgroups", 115, 158),
    SeccompCall("getresuid", 118, 148), SeccompCall("getresgid", 120, 150), SeccompCall("capget", 125, 90),
    SeccompCall("uname", 63, 160), SeccompCall("sysinfo", 99, 179), SeccompCall("getrusage", 98, 165),
    SeccompCall("getrlimit", 97, 163), SeccompCall("setrlimit", 160, 164), SeccompCall("prlimit64", 302, 261),
    SeccompCall("getpriority", 140, 141), SeccompCall("setpriority", 141, 140),
    SeccompCall("sched_getparam", 143, 121), SeccompCall("sched_getscheduler", 145, 120),
    SeccompCall("sched_get_priority_max", 146, 125), SeccompCall("sched_get_priority_min", 147, 126),
    SeccompCall("sched_getaffinity", 204, 123), SeccompCall("sched_setaffinity", 203, 122),
    SeccompCall("getcpu", 309, 168), SeccompCall("getrandom", 318, 278), SeccompCall("arch_prctl", 158, nil),
    SeccompCall("set_tid_address", 218, 96), SeccompCall("set_robust_list", 273, 99),
    SeccompCall("get_robust_list", 274, 100), SeccompCall("rseq", 334, 293),
  ]

  private static let processes = [
    SeccompCall("fork", 57, nil), SeccompCall("vfork", 58, nil), SeccompCall("setsid", 112, 157),
    SeccompCall("setpgid", 109, 154), SeccompCall("pidfd_open", 434, 434), SeccompCall("pidfd_send_signal", 424, 424),
  ]

  private static let changes = [
    SeccompCall("creat", 85, nil), SeccompCall("mkdir", 83, nil), SeccompCall("mkdirat", 258, 34),
    SeccompCall("rmdir", 84, nil), SeccompCall("unlink", 87, nil), SeccompCall("unlinkat", 263, 35),
    SeccompCall("rename", 82, nil), SeccompCall("renameat", 264, 38), SeccompCall("renameat2", 316, 276),
    SeccompCall("link", 86, nil), SeccompCall("linkat", 265, 37), SeccompCall("symlink", 88, nil),
    SeccompCall("symlinkat", 266, 36), SeccompCall("chmod", 90, nil), SeccompCall("fchmod", 91, 52),
    SeccompCall("fchmodat", 268, 53), SeccompCall("truncate", 76, 45), SeccompCall("ftruncate", 77, 46),
    SeccompCall("fallocate", 285, 47), SeccompCall("utimensat", 280, 88),
  ]
}
