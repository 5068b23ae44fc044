import Fleet
import FoundationEssentials
import Glibc
import Host
import Testing
import Trust
import Web

/// `skerry-hub` as a process of its own: exit codes, signals, and a kill in the middle.
@Suite struct ProgramTests {
  private static let program: String = {
    // Beside the test bundle that runs: .build/debug/skerry-hub.
    let path = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let maps = (try? String(contentsOfFile: "/proc/self/cmdline", encoding: .utf8)) ?? ""
    let words = maps.split(separator: "\0").map(String.init) + [path]
    for word in words {
      guard let slash = word.lastIndex(of: "/") else { continue }
      let candidate = word[..<slash] + "/skerry-hub"
      if access(String(candidate), X_OK) == 0 { return String(candidate) }
    }
    return ".build/debug/skerry-hub"
  }()

  private func run(_ arguments: [String]) async throws -> (status: Int32, said: String) {
    let child = try await ChildProcess.spawn(Self.program, arguments, environment: ["PATH": "/usr/bin:/bin"])
    guard case .exited(let status) = await child.wait() else { return (-1, child.stderrTail) }
    return (status, child.stderrTail)
  }

  private func scratch() -> String {
    FileManager.default.temporaryDirectory.path + "/skerry-program-\(Hex.encode(SecureRandom.bytes(8)))"
  }

  @Test func endsWithTheStatusThatBelongs() async throws {
    let directory = scratch()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let state = ["--state", directory]
    #expect(try await run(["serve"] + state).status == 78)
    #expect(try await run(["init"] + state).status == 64)
    #expect(try await run(["init", "--url", "ftp://x"] + state).status == 78)
    #expect(try await run(["init", "--url", "https://127.0.0.1:9", "--json"] + state).status == 0)
    let again = try await run(["init", "--url", "https://127.0.0.1:9"] + state)
    #expect(again.status == 78)
    #expect(again.said.contains("is a hub already"))
    #expect(try await run(["token", "create"] + state).said.contains("no repository yet"))
    #expect(try await run(["token", "create", "--expires", "soon"] + state).status == 64)
    #expect(try await run(["device", "list"] + state).status == 0)
    #expect(try await run(["device", "show", "nobody"] + state).status == 66)
    #expect(try await run(["device", "assign", "nobody", "--all", "--none"] + state).status == 64)
    #expect(try await run(["nonsense"]).status == 64)
    #expect(try await run(["--help"]).status == 0)
  }

  /// A running hub; its port comes from its log.
  private func serve(_ directory: String) async throws -> (ChildProcess, Int) {
    let child = try await ChildProcess.spawn(
      Self.program, ["serve", "--state", directory], environment: ["PATH": "/usr/bin:/bin"], stderrTail: 65536)
    for _ in 0..<200 {
      if let at = child.stderrTail.split(separator: "\n").last(where: { $0.contains("hub listens") }),
        let field = at.split(separator: " ").first(where: { $0.hasPrefix("port=") }), let port = Int(field.dropFirst(5))
      {
        return (child, port)
      }
      try await Task.sleep(for: .milliseconds(50))
    }
    Issue.record("the hub did not come up: \(child.stderrTail)")
    return (child, 0)
  }

  @Test func aKillLosesNothingThatWasAnswered() async throws {
    try await TestHub.with { inside in
      // The same directory, first served in this process, then by another one that gets killed.
      let device = try await ScriptedDevice.enrolled(inside)
      await inside.hub.stop(drain: .seconds(1))
      let (first, port) = try await serve(inside.directory)
      let client = HTTPClient()
      func post(_ port: Int, _ items: [OutboxItem], _ sequence: UInt64) async throws -> ClientResponse {
        let url = "https://127.0.0.1:\(port)/v1/outbox"
        let body = try JSONValue(encoding: OutboxBatch(items: items)).encoded()
        var headers = HTTPHeaders()
        HTTPMessageSignature.sign(
          method: "POST", url: url, headers: &headers, body: body, keyID: device.id.hex, key: device.key, created: 1,
          sequence: sequence)
        var request = ClientRequest(method: "POST", url: url, headers: headers, body: body)
        request.pin = inside.created.pin
        request.totalTimeout = .seconds(20)
        return try await client.send(request)
      }
      let items = (0..<5).map {
        OutboxItem(id: OutboxItem.newID(), kind: "event", priority: 0, created: 1, body: .integer($0))
      }
      #expect(try await post(port, items, 100).status == 200)
      kill(first.pid, SIGKILL)
      #expect(await first.wait() == .signaled(SIGKILL))

      let (second, again) = try await serve(inside.directory)
      #expect(try await run(["serve", "--state", inside.directory]).status == 75)
      // The answer to 100 counts as lost: the same request is stale, the same items under a new number are taken.
      #expect(try await post(again, items, 100).code == "stale_sequence")
      let reply: OutboxReply = try await post(again, items, 101).json.decoded()
      #expect(reply.accepted == items.map(\.id))
      // Another hub on the same address: one that may work later.
      let rival = scratch()
      defer { try? FileManager.default.removeItem(atPath: rival) }
      let made = try await run(
        ["init", "--state", rival, "--url", "https://127.0.0.1:9", "--listen", "127.0.0.1:\(again)"])
      #expect(made.status == 0)
      let late = try await run(["serve", "--state", rival])
      #expect(late.status == 75)
      #expect(late.said.contains("can't listen on 127.0.0.1:\(again)"))
      kill(second.pid, SIGTERM)
      #expect(await second.wait() == .exited(0))
      await client.close()
    }
  }
}
