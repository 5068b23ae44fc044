import Glibc
import Host
import Synchronization
import Testing

@Suite struct InstanceLockTests {
  let scratch = Scratch()

  @Test func oneAtATime() async throws {
    do {
      let lock = try InstanceLock(directory: scratch.path)
      let error = #expect(throws: InstanceLock.Failure.held(directory: scratch.path, by: getpid())) {
        try InstanceLock(directory: scratch.path)
      }
      #expect(error?.description.contains("pid \(getpid())") == true)
      withExtendedLifetime(lock) {}
    }
    // A child that another test forks at this moment shares the lock until its exec.
    #expect(await eventually { (try? InstanceLock(directory: scratch.path)) != nil })
  }

  @Test func aKilledHolderLetsGo() async throws {
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = scratch.path as String] in
      let lock = try InstanceLock(directory: path)
      withExtendedLifetime(lock) { _ = kill(getpid(), SIGKILL) }
    }
    _ = try InstanceLock(directory: scratch.path)
  }

  @Test func eachObstacleHasItsName() throws {
    #expect(throws: InstanceLock.Failure.missing(directory: scratch.file("no"))) {
      try InstanceLock(directory: scratch.file("no"))
    }
  }

  @Test(.enabled(if: getuid() == 0)) func aReadOnlyFolderIsTold() throws {
    guard run("/bin/mount", "-t", "tmpfs", "-o", "ro,size=64k", "skerry-test", scratch.path) else { return }
    defer { run("/bin/umount", "-l", scratch.path) }
    #expect(throws: InstanceLock.Failure.readOnly(directory: scratch.path)) {
      try InstanceLock(directory: scratch.path)
    }
  }

  @Test(.enabled(if: getuid() == 0)) func aForeignFolderIsDenied() async throws {
    await #expect(processExitsWith: .success) { [path = scratch.path as String] in
      guard setuid(65534) == 0 else { return }
      #expect(throws: InstanceLock.Failure.denied(directory: path)) { try InstanceLock(directory: path) }
    }
  }
}

@Suite struct SignalTests {
  @Test func signalsBecomeElements() async throws {
    let first = try Signals.stream([SIGUSR1, SIGUSR2])
    let second = try Signals.stream([SIGUSR2])
    kill(getpid(), SIGUSR1)
    kill(getpid(), SIGUSR2)
    var numbers: Set<Int32> = []
    for await number in first {
      numbers.insert(number)
      if numbers.count == 2 { break }
    }
    #expect(numbers == [SIGUSR1, SIGUSR2])
    for await number in second {
      #expect(number == SIGUSR2)
      break
    }
  }
}

@Suite struct NetworkEventTests {
  @Test(.enabled(if: getuid() == 0)) func aBurstOfRoutesIsOneEvent() async throws {
    let stream = try NetworkEvents.stream(quiet: .milliseconds(100))
    let count = Mutex(0)
    let counter = Counter(count)
    let reader = Task { for await _ in stream { counter.add() } }
    defer { reader.cancel() }
    // TEST-NET-1 (RFC 5737) leads nowhere.
    guard run("/sbin/ip", "route", "add", "blackhole", "127.55.0.1/32") else { return }
    run("/sbin/ip", "route", "del", "blackhole", "127.55.0.1/32")
    #expect(await eventually { counter.value > 0 })
    #expect(counter.value <= 2)
  }

  private final class Counter: Sendable {
    private let count: Mutex<Int>
    init(_ count: consuming sending Mutex<Int>) { self.count = count }
    func add() { count.withLock { $0 += 1 } }
    var value: Int { count.withLock { $0 } }
  }
}

@Suite struct SystemdTests {
  @Test func withoutSystemdNothingHappens() async {
    await #expect(processExitsWith: .success) {
      unsetenv("NOTIFY_SOCKET")
      #expect(!Systemd.notify("READY=1"))
      #expect(Systemd.watchdogInterval == nil)
      #expect(Systemd.listenDescriptors().isEmpty)
    }
  }

  @Test func readinessArrives() async throws {
    let scratch = Scratch()
    await #expect(processExitsWith: .success) { [path = scratch.file("notify") as String] in
      let socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      let bound = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      #expect(bound == 0)
      setenv("NOTIFY_SOCKET", path, 1)
      setenv("WATCHDOG_USEC", "30000000", 1)
      setenv("WATCHDOG_PID", "\(getpid())", 1)
      #expect(Systemd.watchdogInterval == .seconds(30))
      #expect(Systemd.notify("READY=1\nSTATUS=serving"))
      var bytes = [UInt8](repeating: 0, count: 100)
      let got = recv(socket, &bytes, bytes.count, 0)
      #expect(String(decoding: bytes.prefix(max(0, got)), as: UTF8.self) == "READY=1\nSTATUS=serving")
    }
  }

  @Test func inheritedSocketsHaveTheirNames() async {
    await #expect(processExitsWith: .success) {
      var ends: [Int32] = [0, 0]
      #expect(pipe(&ends) == 0)
      dup2(ends[0], 3)
      dup2(ends[1], 4)
      setenv("LISTEN_PID", "\(getpid())", 1)
      setenv("LISTEN_FDS", "2", 1)
      setenv("LISTEN_FDNAMES", "api:hub", 1)
      #expect(Systemd.listenDescriptors().map(\.name) == ["api", "hub"])
      #expect(Systemd.listenDescriptors().map(\.descriptor) == [3, 4])
      #expect(fcntl(3, F_GETFD) & FD_CLOEXEC != 0)
    }
  }
}

@Suite struct ReadingTests {
  @Test func memoryAndDisk() throws {
    #expect(Memory.total > Memory.available)
    #expect(Memory.available > 1 << 20)
    #expect(Memory.residentOfSelf > 1 << 20)
    #expect(Memory.resident(Int32.max) == nil)
    #expect(try Disk.free("/tmp") <= Disk.total("/tmp"))
    #expect(throws: HostError(operation: "statvfs", path: "/nonexistent", code: ENOENT)) {
      try Disk.free("/nonexistent")
    }
    #expect(Disk.isWritable("/tmp"))
    #expect(!Disk.isWritable("/nonexistent"))
  }

  @Test func usersAndGroups() {
    #expect(Users.name(0) == "root")
    #expect(Users.uid("root") == 0)
    #expect(Users.groupName(0) == "root")
    #expect(Users.gid("root") == 0)
    #expect(Users.groups(0, 0).first == 0)
    #expect(Users.members(of: 0).contains("root") && Users.members(of: 4_000_000_000).isEmpty)
    #expect(Users.name(4_000_000_000) == nil)
    #expect(Users.uid("no such user") == nil)
    #expect(Users.groups(4_000_000_000, 5) == [5])
  }

  @Test func clocks() async throws {
    #expect(Clock.bootID().count == 36)
    #expect(Clock.bootID() == Clock.bootID())
    #expect(abs(Clock.unixMilliseconds() / 1000 - Clock.unixTime()) <= 1)
    let before = Clock.monotonic()
    try await Task.sleep(for: .milliseconds(20))
    #expect(Clock.monotonic() - before >= .milliseconds(20))
    #expect(!hostname().isEmpty)
  }
}
