import CommandLine
import Foundation
import Synchronization
import Testing
import Trust
import Web

@testable import skerry

/// Something that answers on a Unix socket as the agent would, and remembers what it was asked.
final class FakeAgent: Sendable {
  struct Asked: Sendable, Equatable {
    var line: String
    var body: JSONValue?
  }

  let socket: String
  private let folder: String
  private let server: HTTPServer
  private let requests: Requests

  private final class Requests: Sendable { let all = Mutex<[Asked]>([]) }

  var asked: [Asked] { requests.all.withLock { $0 } }

  /// `answers` by "METHOD /target"; "*" stands for all others.
  init(_ answers: [String: HTTPResponse]) throws {
    folder = NSTemporaryDirectory() + "skerry-cli-" + UUID().uuidString.prefix(8)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    socket = folder + "/s.sock"
    let requests = Requests()
    self.requests = requests
    server = HTTPServer(HTTPServer.Configuration(listeners: [.unix(path: socket, mode: 0o600)])) { request in
      let bytes = try await request.body.collect(upTo: 1 << 20)
      let line = "\(request.method) \(request.target)"
      requests.all.withLock { $0.append(Asked(line: line, body: try? JSONValue(parsing: bytes))) }
      guard let answer = answers[line] ?? answers["*"] else {
        throw HTTPFailure(404, "not_found", "there is no \(line)", hint: "look again")
      }
      return answer
    }
    try server.start()
  }

  func stop() async {
    await server.stop(drain: .zero)
    try? FileManager.default.removeItem(atPath: folder)
  }

  /// A path in the agent's own folder, which goes away with it.
  func file(_ name: String) -> String { folder + "/" + name }

  /// What one command said.
  struct Said: Sendable {
    var output = ""
    var notes: [String] = []
    var failure: CommandFailure?
    var json: JSONValue? { try? JSONValue(parsing: Array(output.utf8)) }
  }

  func run(_ words: String...) async throws -> Said { try await run(words) }

  func run(_ words: [String]) async throws -> Said {
    let said = Mutex(Said())
    let console = Console(
      say: { bytes in said.withLock { $0.output += String(decoding: bytes, as: UTF8.self) } },
      note: { line in said.withLock { $0.notes.append(line) } })
    let environment = ["SKERRY_SOCKET": socket]
    let invocation = Invocation(
      try Parser.parse(program.spec, words), console: console, environment: { environment[$0] })
    do {
      try await program.run(invocation)
    } catch let failure as CommandFailure {
      said.withLock { $0.failure = failure }
    }
    return said.withLock { $0 }
  }
}

/// Runs the body with such an agent, and stops it afterwards.
func withAgent(_ answers: [String: HTTPResponse], _ body: (FakeAgent) async throws -> Void) async throws {
  let agent = try FakeAgent(answers)
  do {
    try await body(agent)
  } catch {
    await agent.stop()
    throw error
  }
  await agent.stop()
}

func answer(_ json: JSONValue, status: Int = 200) -> HTTPResponse { .json(status, json) }

/// Pieces written one after the other; a nil cuts the connection.
func pieces(_ parts: [String?], type: String = "application/x-ndjson") -> HTTPResponse {
  .streaming(200, headers: ["content-type": type]) { writer in
    for part in parts {
      guard let part else { throw CancellationError() }
      try await writer.write(Array(part.utf8))
      try await Task.sleep(for: .milliseconds(2))
    }
  }
}
