import CommandLine
import Models
import Storage
import Trust
import Web

/// The repository part of a hub's admin API.
struct HubAdmin: Sendable {
  let address: String
  private let pin: String?
  private let token: String
  private let client = HTTPClient()

  /// The hub that the command line or the environment names.
  init(_ command: ParsedCommand) throws {
    guard let hub = command.option("hub") ?? Program.environment("SKERRY_HUB_URL") else {
      throw UsageError(
        path: command.path, "publishing needs a place to go", hint: "give --to PATH, or --hub URL with --pin PIN")
    }
    guard hub.hasPrefix("https://") else {
      throw UsageError(path: command.path, "--hub takes an address that begins with https://, not “\(hub)”")
    }
    guard let file = command.option("admin-token-file") ?? Program.environment("SKERRY_HUB_ADMIN_TOKEN_FILE") else {
      throw UsageError(
        path: command.path, "the hub's admin token is missing", hint: "give --admin-token-file FILE")
    }
    guard let bytes = try DurableFile.read(file, limit: 1 << 16) else {
      throw CommandFailure("there is no admin token at \(file)", status: .noInput)
    }
    token = String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)
    address = hub.hasSuffix("/") ? String(hub.dropLast()) : hub
    pin = command.option("pin") ?? Program.environment("SKERRY_HUB_PIN")
  }

  func close() async { await client.close() }

  /// Sends what the hub lacks, stages the metadata and commits it. Returns how many chunks were sent.
  func publish(
    _ folder: RepoFolder, _ contents: RepoContents, _ objects: RepoUpload, _ progress: ProgressBar
  ) async throws -> Int {
    let missing = try await missing(objects.chunks)
    let store = try ChunkStoreWriter(root: folder.chunks)
    // A few at a time: enough to fill the line, and memory stays at a few chunks.
    try await withThrowingTaskGroup(of: Void.self) { group in
      var waiting = missing.makeIterator()
      func next() {
        guard let id = waiting.next() else { return }
        group.addTask {
          guard let bytes = try store.compressed(id) else { throw TUFError.missing(file: RepoFolder.chunkName(id)) }
          _ = try await send("PUT", "repo/chunks/\(id.hex)", bytes)
        }
      }
      for _ in 0..<4 { next() }
      var done: UInt64 = 0
      while try await group.next() != nil {
        done += 1
        progress.update("sending chunks", done: done, total: UInt64(missing.count))
        next()
      }
    }
    for digest in objects.indexes {
      guard let bytes = try DurableFile.read(folder.index(digest), limit: 1 << 30) else {
        throw TUFError.missing(file: "\(digest.hex).caibx")
      }
      _ = try await send("PUT", "repo/indexes/\(digest.hex)", bytes)
    }
    progress.finish()
    for file in contents.files {
      guard let bytes = try folder.read(file) else { throw TUFError.missing(file: file) }
      _ = try await send("PUT", "repo/metadata/\(file)", bytes)
    }
    _ = try await send("POST", "repo/commit", Array("{}".utf8))
    return missing.count
  }

  /// Which of these chunks the hub does not have, asked in portions that fit a request.
  private func missing(_ chunks: [ChunkID]) async throws -> [ChunkID] {
    var missing: [ChunkID] = []
    for start in stride(from: 0, to: chunks.count, by: 10_000) {
      let portion = chunks[start..<min(start + 10_000, chunks.count)]
      let question: JSONValue = ["chunks": .array(portion.map { .string($0.hex) })]
      let answer = try await send("POST", "repo/missing", question.encoded())
      guard let list = answer["missing"]?.array else {
        throw CommandFailure("the hub's answer does not say which chunks are missing", status: .hubUnavailable)
      }
      missing += list.compactMap { $0.string.flatMap { Digest(hex: $0) } }
    }
    return missing
  }

  /// One request. An answer other than success becomes a failure with the hub's own words.
  private func send(_ method: String, _ path: String, _ body: [UInt8]) async throws -> JSONValue {
    var request = ClientRequest(method: method, url: "\(address)/admin/v1/\(path)")
    request.headers["authorization"] = "Bearer \(token)"
    request.headers["content-type"] = method == "POST" ? "application/json" : "application/octet-stream"
    request.body = .bytes(body)
    request.pin = pin
    let response = try await client.send(request)
    let answer = (try? JSONValue(parsing: response.body)) ?? .null
    guard (200..<300).contains(response.status) else {
      let error = answer["error"]
      let message = error?["message"]?.string ?? "status \(response.status)"
      throw CommandFailure(
        "the hub refused \(method) \(path): \(message)", hint: error?["hint"]?.string, status: status(response.status))
    }
    return answer
  }

  private func status(_ code: Int) -> ExitStatus {
    switch code {
    case 401, 403: .denied
    case 400, 409, 413, 422: .data
    case 429, 503: .tryLater
    default: .hubUnavailable
    }
  }
}
