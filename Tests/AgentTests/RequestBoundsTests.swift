import Glibc
import Synchronization
import Testing
import Trust
import Web

@testable import Agent

/// What one caller can cost, and for how long an answer goes on.
@Suite struct RequestBoundsTests {
  /// What is no inference has a limit, whatever its path, and what has a model only loaded is none: else one token could
  /// fill the disk with decisions.
  @Test func whatIsNoInferenceIsLimitedWhereverItStands() async throws {
    let box = try await AgentBox.start(settings: ["limits.managementPerMinute": "20"])
    let paths: [(String, JSONValue)] = [
      ("/api/show", ["model": "smol"]), ("/api/copy", ["source": "smol", "destination": "smol"]),
      ("/api/generate", ["model": "smol", "keep_alive": 0]), ("/api/chat", ["model": "smol", "keep_alive": 0]),
      ("/api/embed", ["model": "none", "input": []]),
    ]
    for (number, (path, body)) in paths.enumerated() {
      // Each by a caller of its own.
      let made = try await box.ask("POST", "/skerry/v1/tokens", ["name": .string("t\(number)"), "roles": ["chat"]])
      let token = try #require(made.json["token"]?.string)
      var answers: [Int] = []
      for _ in 0..<30 { answers.append(try await box.ask("POST", path, body, token: token).status) }
      #expect(answers.contains(429) && answers.first != 429, "\(path): \(answers)")
      let before = try await size(box)
      answers = []
      for _ in 0..<60 { answers.append(try await box.ask("POST", path, body, token: token).status) }
      // A few come in again as time passes; the others are counted, not written one by one.
      #expect(answers.count { $0 == 429 } >= 50, "\(path): \(answers)")
      #expect(try await size(box) - before <= 30, "\(path)")
    }
    await box.stop()
  }

  private func size(_ box: AgentBox) async throws -> Int64 {
    try #require(try await box.ask("GET", "/skerry/v1/audit?limit=1").json["size"]?.integer)
  }

  /// Whoever is no longer allowed to read the log reads no more of it, though the answer has begun.
  @Test(arguments: ["revoked", "unbound"])
  func aTailEndsWithTheRightToReadIt(_ how: String) async throws {
    let box = try await AgentBox.start()
    let made = try await box.ask("POST", "/skerry/v1/tokens", ["name": "eye", "roles": ["auditor"]])
    let token = try #require(made.json["token"]?.string)
    var request = box.request("GET", "/skerry/v1/audit/tail?from=0", nil, token: token)
    request.totalTimeout = .seconds(120)
    let stream = try await box.client.stream(request)
    #expect(stream.status == 200)
    let read = Mutex("")
    let reading = Task {
      for try await piece in stream { read.withLock { $0 += String(decoding: piece, as: UTF8.self) } }
    }
    for _ in 0..<500 where !read.withLock({ $0.contains("\"start\"") }) { try await Task.sleep(for: .milliseconds(20)) }
    #expect(read.withLock { $0.contains("\"start\"") })
    let end =
      how == "revoked"
      ? try await box.ask("DELETE", "/skerry/v1/tokens/eye")
      : try await box.ask("DELETE", "/skerry/v1/bindings?role=auditor&subject=token:eye")
    #expect(end.status < 300)
    _ = try? await reading.value
    let seen = read.withLock { $0 }
    // What comes after is not in what was read.
    _ = try await box.ask("POST", "/skerry/v1/tokens", ["name": "later", "roles": ["chat"]])
    #expect(!seen.contains("token:later") && !seen.contains("\"later\""))
    await box.stop()
  }
}
