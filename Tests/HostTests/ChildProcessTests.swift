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

@Suite struct SandboxTests {
  let scratch = Scratch()

  @Test func aMissingProgramIsTold() async {
    guard case .unavailable(let reason) = await Sandbox.probe("/nonexistent/bwrap") else {
      Issue.record("available")
      return
    }
    #expect(reason.contains("install"))
  }

  @Test func aProgramThatFailsIsQuoted() async {
    run(
      "/bin/sh", "-c",
      "printf '#!/bin/sh\\necho no namespaces here >&2\\nexit 1\\n' > \(scratch.file("b")); chmod +x \(scratch.file("b"))"
    )
    #expect(await Sandbox.probe(scratch.file("b")) == .unavailable(reason: "no namespaces here"))
  }

  @Test func insideThereIsLittleToSee() async throws {
    // Where namespaces are forbidden, there is no sandbox to look into.
    guard case .available = await Sandbox.probe() else { return }
    run("/bin/mkdir", scratch.file("sockets"))
    run("/bin/sh", "-c", "echo weights > \(scratch.file("model")); echo secret > \(scratch.file("secret"))")
    let script = """
      cat \(scratch.file("model")) >&2
      cat \(scratch.file("secret")) >&2 2>/dev/null && echo LEAK >&2
      (echo x > \(scratch.file("model"))) 2>/dev/null && echo LEAK >&2
      (echo x > /usr/x) 2>/dev/null && echo LEAK >&2
      echo done > \(scratch.file("sockets/s"))
      ls /sys/class/net /etc/passwd /root /home 2>/dev/null >&2
      [ "$(wc -l < /proc/net/dev)" = 3 ] || echo NETWORK >&2
      echo "$A $HOME" >&2
      """
    let (path, arguments) = Sandbox().arguments(
      engine: "/bin/sh", engineDirectory: "/usr/bin", readOnly: [scratch.file("model")],
      writable: scratch.file("sockets"), environment: ["A": "1"], engineArguments: ["-c", script])
    let child = try await ChildProcess.spawn(path, arguments, environment: ["HOME": "/root"])
    let status = await child.wait()
    #expect(status == .exited(0))
    #expect(child.stderrTail == "weights\n1 \n")
    #expect(text(scratch.file("sockets/s")) == "done\n")
  }

  @Test func bindsTheFileBehindADescriptor() async throws {
    guard case .available = await Sandbox.probe() else { return }
    run("/bin/sh", "-c", "echo verified > \(scratch.file("model"))")
    let descriptor = open(scratch.file("model"), O_RDONLY | O_CLOEXEC)
    defer { close(descriptor) }
    func inside() async throws -> (Host.ExitStatus, String) {
      let script =
        "cat /models/m >&2; (echo x > /models/m) 2>/dev/null && echo LEAK >&2; true"
      let (path, arguments) = Sandbox().arguments(
        engine: "/bin/sh", engineDirectory: "/usr/bin", files: [(3, "/models/m")], writable: scratch.path,
        engineArguments: ["-c", script])
      let child = try await ChildProcess.spawn(path, arguments, passing: [descriptor])
      return (await child.wait(), child.stderrTail)
    }
    var (status, said) = try await inside()
    #expect(status == .exited(0) && said == "verified\n")
    // Another file under the name: bubblewrap refuses to bind what is not behind the descriptor.
    run(
      "/bin/sh", "-c", "echo foreign > \(scratch.file("other")); mv \(scratch.file("other")) \(scratch.file("model"))")
    (status, said) = try await inside()
    #expect(status != .exited(0) && !said.contains("foreign"), "\(said)")
  }

  @Test func passesDescriptorsOnAndNoOthers() async throws {
    run("/bin/sh", "-c", "echo one > \(scratch.file("one")); echo two > \(scratch.file("two"))")
    let numbers = ["one", "two"].map { open(scratch.file($0), O_RDONLY | O_CLOEXEC) }
    defer { for number in numbers { close(number) } }
    let child = try await ChildProcess.spawn(
      "/bin/sh", ["-c", "cat <&3 >&2; cat /proc/self/fd/4 >&2; [ -e /proc/self/fd/5 ] && echo MORE >&2; true"],
      passing: numbers)
    #expect(await child.wait() == .exited(0))
    #expect(child.stderrTail == "one\ntwo\n")
  }

  @Test func stoppingItTakesTheInsideDown() async throws {
    guard case .available = await Sandbox.probe() else { return }
    let mark = "3\(getpid())"
    let (path, arguments) = Sandbox().arguments(
      engine: "/usr/bin/sleep", engineDirectory: "/usr/bin", readOnly: [], writable: scratch.path,
      engineArguments: [mark])
    let child = try await ChildProcess.spawn(path, arguments)
    let running = { run("/usr/bin/pgrep", "-f", "^/usr/bin/sleep \(mark)$") }
    #expect(await eventually { running() })
    await child.stop(schedule: [(SIGTERM, .seconds(2))])
    #expect(!running())
  }
}
