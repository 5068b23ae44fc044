import Glibc
import Host
import Testing

@Suite struct SandboxTests {
  let scratch = Scratch()

  private func demandSandbox() async throws {
    let support = await Sandbox().probe(SeccompFilter.Architecture.current.map { SeccompFilter($0, []) })
    try #require(support == .available, "these tests want bubblewrap and user namespaces")
  }

  @Test func aMissingProgramIsTold() async {
    guard case .unavailable(let reason) = await Sandbox(path: "/nonexistent/bwrap").probe(nil) else {
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
    #expect(await Sandbox(path: scratch.file("b")).probe(nil) == .unavailable(reason: "no namespaces here"))
  }

  @Test func insideThereIsLittleToSee() async throws {
    try await demandSandbox()
    run("/bin/mkdir", scratch.file("sockets"))
    run("/bin/sh", "-c", "echo weights > \(scratch.file("model")); echo secret > \(scratch.file("secret"))")
    let script = """
      cat \(scratch.file("model")) >&2
      cat \(scratch.file("secret")) >&2 2>/dev/null && echo LEAK >&2
      (echo x > \(scratch.file("model"))) 2>/dev/null && echo LEAK >&2
      (echo x > /usr/x) 2>/dev/null && echo LEAK >&2
      (echo x > /x) 2>/dev/null && echo LEAK >&2
      (echo x > /dev/x) 2>/dev/null && echo LEAK >&2
      echo done > \(scratch.file("sockets/s"))
      ls /sys/class/net /etc/passwd /root /home 2>/dev/null >&2
      [ "$(wc -l < /proc/net/dev)" = 3 ] || echo NETWORK >&2
      echo "$A $HOME" >&2
      """
    var contents = Sandbox.Contents(program: "/usr/bin/sh", arguments: ["-c", script], environment: ["A": "1"])
    contents.visible = ["/usr", scratch.file("model")]
    contents.writable = scratch.file("sockets")
    let child = try await Sandbox().spawn(contents)
    let status = await child.wait()
    #expect(status == .exited(0))
    #expect(child.stderrTail == "weights\n1 \n")
    #expect(text(scratch.file("sockets/s")) == "done\n")
  }

  @Test func bindsTheFileBehindADescriptor() async throws {
    try await demandSandbox()
    run("/bin/sh", "-c", "echo verified > \(scratch.file("model"))")
    let descriptor = open(scratch.file("model"), O_RDONLY | O_CLOEXEC)
    defer { close(descriptor) }
    func inside() async throws -> (Host.ExitStatus, String) {
      let script =
        "cat /models/m >&2; (echo x > /models/m) 2>/dev/null && echo LEAK >&2; true"
      var contents = Sandbox.Contents(program: "/usr/bin/sh", arguments: ["-c", script])
      contents.visible = ["/usr"]
      contents.files = [(descriptor, "/models/m")]
      let child = try await Sandbox().spawn(contents)
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
    try await demandSandbox()
    let mark = "3\(getpid())"
    let child = try await Sandbox().spawn(Sandbox.Contents(program: "/usr/bin/sleep", arguments: [mark]))
    let running = { run("/usr/bin/pgrep", "-f", "^/usr/bin/sleep \(mark)$") }
    #expect(await eventually { running() })
    await child.stop(schedule: [(SIGTERM, .seconds(2))])
    #expect(!running())
  }

  @Test func aHelperThatIsMissingIsTold() async {
    guard case .unavailable(let reason) = await Sandbox(helper: "/nonexistent/confine").probe(nil) else {
      Issue.record("available")
      return
    }
    #expect(reason.contains("skerry-confine"))
  }

  /// What a Unix socket outside is asked, a server on the loopback inside answers; end-of-file ends it politely.
  @Test func theRelayCarriesRequestsIn() async throws {
    try await demandSandbox()
    guard access("/usr/bin/python3", X_OK) == 0 else { return }
    let script = """
      import http.server, signal, sys
      signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
      class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
          body = self.rfile.read(int(self.headers['Content-Length']))
          self.send_response(200); self.end_headers(); self.wfile.write(body[::-1])
        def log_message(self, *_): pass
      http.server.ThreadingHTTPServer(('127.0.0.1', 8080), Answer).serve_forever()
      """
    let socket = try ListeningSocket(scratch.file("relay"))
    var contents = Sandbox.Contents(program: "/usr/bin/python3", arguments: ["-c", script])
    contents.visible = ["/usr"]
    contents.relay = (socket.descriptor, 8080)
    contents.stopAfter = .seconds(5)
    contents.filter = SeccompFilter.Architecture.current.map { SeccompFilter($0, [.processes, .internet, .files]) }
    let child = try await Sandbox().spawn(contents, standardInput: .pipe)
    run(
      "/bin/sh", "-c",
      "seq 1 200000 > \(scratch.file("body")); rev \(scratch.file("body")) | tac > \(scratch.file("want"))")
    let ask = "curl -sS -m 20 --unix-socket \(scratch.file("relay")) --data-binary @\(scratch.file("body")) http://x/"
    #expect(await eventually(within: .seconds(20)) { run("/bin/sh", "-c", "\(ask) > \(scratch.file("got"))") })
    let many = "seq 8 | xargs -P 8 -I{} sh -c '\(ask) | cmp -s - \(scratch.file("got"))'"
    #expect(run("/bin/sh", "-c", many), "eight at once did not get what one got")
    #expect(run("/bin/sh", "-c", "tr -d '\\n' < \(scratch.file("got")) | wc -c | grep -q 1088895"))
    child.closeStandardInput()
    #expect(await child.wait(timeout: .seconds(10)) == .exited(7))
  }
}
