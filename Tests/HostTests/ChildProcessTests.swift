import Glibc
import Host
import Testing

@Suite struct ChildProcessTests {
  let scratch = Scratch()

  @Test func howItEnded() async throws {
    #expect(await (try shell("exit 7")).wait() == .exited(7))
    #expect(await (try shell("kill -USR2 $$")).wait() == .signaled(SIGUSR2))
    #expect(await (try shell("kill -KILL $$")).wait() == .signaled(SIGKILL))
  }

  @Test func severalMayWait() async throws {
    let child = try await shell("read line; exit 3", input: .pipe)
    #expect(child.isRunning)
    async let first = child.wait()
    async let second = child.wait()
    #expect(await child.wait(timeout: .zero) == nil)
    #expect(await child.wait(timeout: .milliseconds(20)) == nil)
    child.closeStandardInput()
    #expect(await [first, second, child.wait()] == [.exited(3), .exited(3), .exited(3)])
    #expect(!child.isRunning)
    #expect(!child.send(SIGTERM))
  }

  @Test func whatCannotBeStartedThrows() async throws {
    let missing = scratch.file("nosuch")
    await #expect(throws: HostError(operation: "start", path: missing, code: ENOENT)) {
      try await ChildProcess.spawn(missing, [])
    }
    let plain = scratch.file("plain")
    run("/bin/sh", "-c", "echo no program > \(plain)")
    await #expect(throws: HostError(operation: "start", path: plain, code: EACCES)) {
      try await ChildProcess.spawn(plain, [])
    }
  }

  @Test func theTailOfStderrIsBounded() async throws {
    let child = try await shell("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done", tail: 100)
    _ = await child.wait()
    #expect(child.stderrTail.utf8.count == 100)
    #expect(child.stderrTail.hasSuffix("line 2998\nline 2999\n"))
  }

  @Test func itGetsNothingButWhatItIsGiven() async throws {
    let leak = open("/dev/null", O_RDONLY)
    defer { close(leak) }
    Signals.ignoreBrokenPipe()
    let script = "/bin/ls /proc/self/fd; /bin/grep -E 'SigBlk|SigIgn' /proc/self/status; /usr/bin/env"
    let child = try await ChildProcess.spawn("/bin/sh", ["-c", "(\(script)) >&2"], environment: ["ONE": "1"])
    _ = await child.wait()
    let lines = child.stderrTail.split(separator: "\n")
    // ls has its folder open as 3.
    #expect(lines.prefix { !$0.hasPrefix("Sig") } == ["0", "1", "2", "3"])
    let signals = lines.filter { $0.hasPrefix("Sig") }.compactMap { UInt64($0.dropFirst(8), radix: 16) }
    // 32 and 33 belong to the C library.
    #expect(signals.map { $0 & ~(3 << 31) } == [0, 0])
    // The shell adds PWD by itself.
    #expect(lines.filter { $0.contains("=") && !$0.hasPrefix("PWD=") } == ["ONE=1"])
  }

  @Test func limitsHold() async throws {
    let child = try await ChildProcess.spawn(
      "/bin/sh", ["-c", "ulimit -n >&2; nice >&2; ulimit -v >&2"], environment: ["PATH": "/usr/bin:/bin"],
      limits: .init(nice: 5, addressSpace: 1 << 30, openFiles: 77))
    _ = await child.wait()
    errno = 0
    let own = nice(0)
    #expect(child.stderrTail == "77\n\(own + 5)\n\(1 << 20)\n")
  }

  @Test func endOfFileOnStandardInputTellsIt() async throws {
    let child = try await shell("cat; exit 4", input: .pipe)
    #expect(await child.wait(timeout: .milliseconds(100)) == nil)
    child.closeStandardInput()
    #expect(await child.wait(timeout: .seconds(5)) == .exited(4))
  }

  @Test func aPoliteStopIsEnough() async throws {
    let child = try await shell("trap 'exit 9' TERM; while :; do sleep 0.01; done")
    try await Task.sleep(for: .milliseconds(100))
    #expect(await child.stop(schedule: [(SIGTERM, .seconds(5))]) == .exited(9))
    #expect(await child.stop() == .exited(9))
  }

  @Test func whoIgnoresTheScheduleIsKilled() async throws {
    let child = try await shell("trap '' TERM INT; while :; do sleep 0.01; done")
    try await Task.sleep(for: .milliseconds(100))
    let start = Clock.monotonic()
    let status = await child.stop(schedule: [(SIGINT, .milliseconds(100)), (SIGTERM, .milliseconds(100))])
    #expect(status == .signaled(SIGKILL))
    #expect(Clock.monotonic() - start < .seconds(20))
  }

  @Test func stragglersOfTheGroupGoToo() async throws {
    let child = try await shell("sleep 60 & echo $! >&2; exec 2>&-; exit 0")
    #expect(await child.wait(timeout: .seconds(10)) == .exited(0))
    let straggler = try #require(Int32(child.stderrTail.split(separator: "\n").first ?? ""))
    #expect(await eventually { !isAlive(straggler) })
  }

  @Test func itDoesNotOutliveThisProcess() async throws {
    let told = scratch.file("pid")
    await #expect(processExitsWith: .signal(SIGKILL)) { [told = told as String] in
      let child = try await shell("trap '' TERM HUP; sleep 60")
      guard let file = fopen(told, "w") else { return }
      fputs("\(child.pid)", file)
      fclose(file)
      kill(getpid(), SIGKILL)
    }
    let words = try #require(text(told))
    let pid = try #require(Int32(words))
    #expect(await eventually { !isAlive(pid) })
  }

  /// The death signal follows the thread that forked: pool threads come and go, the children must stay.
  @Test func manyAtOnceLiveAsLongAsTheyShould() async throws {
    let statuses = try await withThrowingTaskGroup(of: ExitStatus.self) { group in
      for number in 0..<24 { group.addTask { await (try shell("sleep 0.3; exit \(number)")).wait() } }
      return try await group.reduce(into: Set()) { $0.insert($1) }
    }
    #expect(statuses == Set((0..<24).map { .exited($0) }))
  }
}
