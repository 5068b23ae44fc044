import CommandLine
import Fleet
import Trust
import Web

extension API {
  /// Downloads to a file that appears whole or not at all. Hands each piece to `each` before it is written.
  func download(
    _ path: String, body: JSONValue, to file: String, each: (Int) -> Void
  ) async throws {
    let output = try OutputFile(file)
    var request = request("POST", path, [], body, timeout: nil)
    // A hub reads all of its chunks before the first byte.
    request.lowSpeed = nil
    var reader = BundleReader()
    do {
      let response = try await client.stream(request)
      guard (200..<300).contains(response.status) else {
        throw Self.failure(status: response.status, body: try await response.collect(upTo: 1 << 20))
      }
      for try await piece in response.body {
        // What arrives is a whole bundle, or no file.
        try reader.push(piece) { _ in }
        try output.write(piece)
        each(piece.count)
      }
      try reader.finish()
    } catch let error as HTTPClientError {
      throw unreachable(error)
    } catch let error as BundleError {
      throw CommandFailure("what came is no whole bundle: \(error)", hint: "try again", status: .tryLater)
    }
    try output.finish()
  }

  /// Sends a file as it is read, and hands on the answer's pieces.
  func upload(_ path: String, _ input: InputFile, sent: @escaping @Sendable (UInt64) -> Void) async throws
    -> ClientStream
  {
    var request = request("POST", path, [], nil, timeout: nil)
    request.headers.set("content-type", "application/vnd.skerry.bundle")
    request.headers.set("content-length", String(input.size))
    request.lowSpeed = nil
    let feed = FileFeed(path: input.path, size: input.size, sent: sent)
    request.body = .stream { try await feed.next() }
    do {
      let response = try await client.stream(request)
      guard (200..<300).contains(response.status) else {
        throw Self.failure(status: response.status, body: try await response.collect(upTo: 1 << 20))
      }
      return response
    } catch let error as HTTPClientError {
      throw unreachable(error)
    }
  }
}

/// A file's pieces, one after the other.
private actor FileFeed {
  private let path: String
  private let size: UInt64
  private var offset: UInt64 = 0
  private let sent: @Sendable (UInt64) -> Void

  init(path: String, size: UInt64, sent: @escaping @Sendable (UInt64) -> Void) {
    self.path = path
    self.size = size
    self.sent = sent
  }

  func next() throws -> [UInt8]? {
    guard offset < size else { return nil }
    // Opened anew each time, so that nothing but a path crosses between tasks.
    let piece = try InputFile(path).read(offset, Int(min(UInt64(1 << 18), size - offset)))
    guard !piece.isEmpty else { throw CommandFailure("\(path) became shorter while it was read", status: .io) }
    offset += UInt64(piece.count)
    sent(offset)
    return piece
  }
}

let bundleCreate: Runner = { invocation in
  guard let output = invocation.command.option("output") else {
    throw UsageError(path: invocation.command.path, "where to? give --output FILE")
  }
  var order: [String: JSONValue] = ["everything": .bool(invocation.command.flag("all"))]
  let devices = invocation.command.options("device")
  if !devices.isEmpty { order["devices"] = .array(devices.map { .string($0) }) }
  if let file = invocation.command.option("policies") {
    order["policies"] = .string(String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self))
  }
  let bar = ProgressBar(hidden: invocation.json)
  var done: UInt64 = 0
  try await invocation.hub().download("/admin/v1/bundles", body: .object(order), to: output) { count in
    done += UInt64(count)
    bar.update("writing \(output)", done: done, total: 0)
  }
  bar.finish()
  let summary = try BundleSummary(reading: output)
  invocation.answer(summary.json(file: output)) { summary.text(file: output) }
}

let bundleImport: Runner = { invocation in
  let input = try InputFile(invocation.argument("FILE"))
  let agent = invocation.agent
  // Asked first: who may not, or has another box's bundle, need not send gigabytes.
  let box = try await agent.json("GET", "/skerry/v1/bundle")
  let head = try BundleSummary.head(of: input)
  if let id = box["deviceID"]?.string.flatMap({ DeviceID($0) }), head.manifest.origin == .hub,
    !head.manifest.devices.contains(id)
  {
    // The agent has the last word, and puts it on record.
    invocation.console.note("this bundle is not for this box (\(id.hex))")
  }
  let bar = ProgressBar(hidden: invocation.json)
  let (path, size) = (input.path, input.size)
  let response = try await agent.upload("/skerry/v1/bundle/import", input) { sent in
    bar.update("checking \(path)", done: sent, total: size)
  }
  bar.finish()
  var outcome: JSONValue?
  var splitter = LineSplitter()
  func take(_ lines: [[UInt8]]) throws {
    for line in lines where !line.isEmpty {
      guard let event = try? JSONValue(parsing: line) else { throw agent.unreadable("/skerry/v1/bundle/import") }
      if invocation.json { invocation.console.say(event.encoded() + [0x0A]) }
      switch event["event"]?.string {
      case "progress": showProgress(event, on: bar)
      case "done": outcome = event["outcome"] ?? .object([:])
      case "error":
        bar.finish()
        throw syncFailure(event["error"] ?? .null)
      default: break
      }
    }
  }
  do {
    for try await piece in response.body { try take(splitter.push(piece)) }
  } catch let error as HTTPClientError { throw agent.unreachable(error) }
  if let last = splitter.finish() { try take([last]) }
  bar.finish()
  guard let outcome else {
    throw CommandFailure("the agent broke off the import", hint: "give the bundle again", status: .tryLater)
  }
  if !invocation.json { invocation.console.say(importText(outcome)) }
  let failures = outcome.list("failures").map {
    ($0.text("model").isEmpty ? "" : "\($0.text("model")): ") + $0.text("message")
  }
  if let first = failures.first {
    throw CommandFailure(
      first + (failures.count > 1 ? " (and \(failures.count - 1) more)" : ""),
      hint: "what arrived is kept; the same or a newer bundle goes on from there", status: .tryLater)
  }
}

func importText(_ outcome: JSONValue) -> String {
  func names(_ key: String) -> String? {
    let list = outcome.strings(key)
    return list.isEmpty ? nil : list.joined(separator: ", ")
  }
  let acknowledged = outcome["acknowledged"]?.integer ?? 0
  return "taken in: bundle \(outcome["serial"]?.integer ?? 0)\n"
    + facts([
      ("  joined", outcome["enrolled"]?.bool == true ? "the fleet" : nil), ("  active now", names("activated")),
      ("  removed", names("removed")),
      ("  the hub has", acknowledged > 0 ? "\(acknowledged) waiting item\(acknowledged == 1 ? "" : "s")" : nil),
      ("  cosigned", outcome["cosignedSize"]?.integer.map { "the first \($0) audit entries" }),
      ("  policies", outcome["policies"]?.string),
    ])
}

let bundleExport: Runner = { invocation in
  guard let output = invocation.command.option("output") else {
    throw UsageError(path: invocation.command.path, "where to? give --output FILE")
  }
  if var token = invocation.command.option("enroll") {
    if token == "-" { token = String(decoding: try readFile("-", limit: 16 << 10), as: UTF8.self) }
    let bytes = try await invocation.agent.bytes(
      "POST", "/skerry/v1/bundle/enroll", body: ["token": .string(trimmed(token))])
    try OutputFile.write(bytes, to: output)
  } else {
    try await invocation.agent.download("/skerry/v1/bundle/export", body: [:], to: output) { _ in }
  }
  let summary = try BundleSummary(reading: output)
  invocation.answer(summary.json(file: output)) { summary.text(file: output) }
  if !invocation.json { invocation.console.note("for the hub: skerry bundle take \(output)") }
}

let bundleTake: Runner = { invocation in
  let input = try InputFile(invocation.argument("FILE"))
  let bar = ProgressBar(hidden: invocation.json)
  let hub = try invocation.hub()
  let (path, size) = (input.path, input.size)
  let response = try await hub.upload("/admin/v1/bundles/take", input) { sent in
    bar.update("sending \(path)", done: sent, total: size)
  }
  bar.finish()
  guard let answer = try? JSONValue(parsing: try await response.collect(upTo: 1 << 20)) else {
    throw hub.unreadable("/admin/v1/bundles/take")
  }
  invocation.answer(answer) { takeText(answer) }
}

func takeText(_ answer: JSONValue) -> String {
  let what =
    answer["enrolled"]?.bool == true
    ? "\(answer.text("name")) joined the fleet; make a bundle for it: skerry bundle create --device \(answer.text("device"))"
    : "\(answer.text("name")): \(answer["items"]?.integer ?? 0) items, \(answer["records"]?.integer ?? 0) audit records, "
      + "cosigned up to \(answer["cosignedSize"]?.integer ?? 0)"
  return (answer["again"]?.bool == true ? "taken before, nothing changed: " : "taken: ") + what + "\n"
}
