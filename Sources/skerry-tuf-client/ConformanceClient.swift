import CommandLine
import FoundationEssentials
import Storage
import Trust
import Web

/// The client protocol of theupdateframework/tuf-conformance (CLIENT-CLI.md) over the client that the agent uses.
struct ConformanceClient {
  private let command: ParsedCommand
  private let client = HTTPClient()

  init(_ command: ParsedCommand) { self.command = command }

  func run() async throws {
    switch command.path.first {
    case "init":
      let root = try read(command.argument("ROOT"))
      _ = try TrustedMetadata(trustedRoot: root ?? [])
      try DurableFile.makeDirectory(try option("metadata-dir"))
      try DurableFile.replace(try option("metadata-dir") + "/root.json", with: root ?? [])
    case "refresh": _ = try await refresh(now: Date())
    default:
      let names = command.options("target-name")
      guard !names.isEmpty else { throw CommandFailure("--target-name is missing", status: .usage) }
      // One fixed start time and one trusted set for all of them, in their order.
      let now = Date()
      var trusted = try await refresh(now: now)
      for name in names { try await download(name, &trusted, now: now) }
    }
  }

  private func option(_ name: String) throws -> String {
    guard let value = command.option(name) else { throw CommandFailure("--\(name) is missing", status: .usage) }
    return value
  }

  /// An address without the slash that it may end with.
  private func address(_ name: String) throws -> String {
    let value = try option(name)
    return value.hasSuffix("/") ? String(value.dropLast()) : value
  }

  private func read(_ path: String) throws -> [UInt8]? { try DurableFile.read(path, limit: 16 << 20) }

  private func refresh(now: Date) async throws -> TrustedMetadata {
    let folder = try option("metadata-dir")
    let address = try address("metadata-url")
    guard let root = try read(folder + "/root.json") else {
      throw CommandFailure("there is no root.json in \(folder)", hint: "run init first", status: .noInput)
    }
    let local = TUFLocalState(
      root: root, timestamp: try read(folder + "/timestamp.json"), snapshot: try read(folder + "/snapshot.json"),
      targets: try read(folder + "/targets.json"))
    return try await TUFWorkflow.refresh(local: local, now: now) { file, limit in
      try await fetch("\(address)/\(file)", limit: limit)
    } persist: { file, bytes in
      let path = "\(folder)/\(file)"
      if let bytes { try DurableFile.replace(path, with: bytes) } else { try DurableFile.remove(path) }
    }
  }

  private func fetch(_ url: String, limit: Int) async throws -> [UInt8]? {
    var request = ClientRequest(url: url)
    request.maxResponseBytes = limit
    let response = try await client.send(request)
    switch response.status {
    case 200: return response.body
    case 403, 404: return nil
    default: throw CommandFailure("\(url) answered \(response.status)", status: .failure)
    }
  }

  private func download(_ name: String, _ trusted: inout TrustedMetadata, now: Date) async throws {
    let (metadata, source) = (try option("metadata-dir"), try address("metadata-url"))
    let found = try await TUFWorkflow.find(name, in: &trusted, now: now) { file in
      try read("\(metadata)/\(file)")
    } fetch: { file, limit in
      try await fetch("\(source)/\(file)", limit: limit)
    } persist: { file, bytes in
      if let bytes { try DurableFile.replace("\(metadata)/\(file)", with: bytes) }
    }
    guard let target = found else {
      throw CommandFailure("the metadata names no target \(name)", status: .failure)
    }
    let folder = try option("target-dir")
    // The file's name is the whole path with its separators escaped, so that no target writes outside the folder.
    let path = "\(folder)/\(PercentEncoding.encode(name))"
    if let there = try? DurableFile.read(path, limit: Int(clamping: target.length)), target.hashes.match(there) {
      return
    }
    var parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    if trusted.root.consistentSnapshot, let last = parts.popLast() {
      parts.append("\(target.hashes.fileNamePrefix).\(last)")
    }
    let url = try address("target-base-url") + "/" + parts.map(PercentEncoding.encode).joined(separator: "/")
    guard let bytes = try await fetch(url, limit: Int(clamping: target.length)) else {
      throw CommandFailure("\(url) is not there", status: .failure)
    }
    guard UInt64(bytes.count) == target.length, target.hashes.match(bytes) else {
      throw CommandFailure("\(name) is not what the metadata names", status: .data)
    }
    try DurableFile.replace(path, with: bytes)
  }
}
