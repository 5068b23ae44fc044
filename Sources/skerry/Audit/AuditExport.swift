import CommandLine
import Fleet
import Glibc
import Host
import Trust

let auditExportSpec = CommandSpec(
  "export", "write the log, or a part of it, with its proofs, for an auditor or a collector",
  discussion: """
    Without a format it is Skerry's own, JSON Lines with the proofs in it. Beside each file stands FILE.proof: the signed \
    heads, the file's length and SHA-256, and for other forms the proofs, so that audit verify checks them as well. tiles is \
    a folder in C2SP tlog-tiles' layout and takes the whole log.

    With --cursor FILE only what was not exported before is written, and FILE then says how far it went; that the log still \
    continues what was exported is checked first. --to hands records to a collector instead: https://HOST/v1/logs for \
    otlp, tls://HOST:PORT for syslog (RFC 5425). Whatever fails leaves the cursor where it was.
    """,
  options: [
    OptionSpec("output", short: "o", value: "FILE", "where to write; without it, standard output", completion: .files),
    OptionSpec(
      "format", value: "FORMAT", "jsonl, ocsf (1.8), syslog (RFC 5424), otlp, csv or tiles", default: "jsonl",
      completion: .choices(AuditFormat.allCases.map(\.rawValue))),
    OptionSpec("to", value: "URL", "a collector that gets the records, for otlp and syslog"),
    OptionSpec("ca", value: "FILE", "certificates that the collector's must lead to", completion: .files),
    OptionSpec("cursor", value: "FILE", "go on where the last export with this file ended", completion: .files),
    OptionSpec("from", value: "N", "leave out entries before this one"),
  ] + auditSelectionOptions,
  examples: [
    Example("skerry audit export --output log.jsonl", "for: skerry audit verify log.jsonl"),
    Example("skerry audit export --format ocsf --since 24h -o day.ocsf.jsonl", "a day for a SIEM"),
    Example(
      "skerry audit export --format syslog --to tls://siem.example:6514 --cursor siem.cursor",
      "what is new, to a collector"),
  ])

/// Takes an export apart and hands it on in another form.
protocol AuditSink: AnyObject {
  func begin(_ header: AuditExportHeader) throws
  func entry(_ record: AuditFormatRecord, hash: [UInt8]) async throws
  func gap(_ gap: AuditExportGap) throws
  /// What was made of it, for the answer.
  func finish() async throws -> [String: JSONValue]
}

let auditExport: Runner = { invocation in
  guard let format = invocation.command.option("format").flatMap({ AuditFormat(rawValue: $0) }) else { return }
  let cursor = try AuditCursor.File(invocation)
  var query = try invocation.auditSelection(now: Clock.unixTime())
  if let from = try cursor?.last.map({ $0.size })
    ?? invocation.command.integer("from", in: 0...Int64.max).map({ UInt64($0) })
  {
    query.append(("from", "\(from)"))
  }
  let target = invocation.command.option("output").flatMap { $0 == "-" ? nil : $0 }
  var watch = AuditCursor.Watch(cursor)
  var answer: [String: JSONValue]
  if format == .jsonl {
    guard invocation.command.option("to") == nil else { throw noCollector(format) }
    if cursor == nil {
      // Whatever is wrong with it: evidence is written down as it comes.
      return try await exportAsItIs(invocation, query, target)
    }
    answer = try await exportOwn(invocation, query, target, &watch)
  } else {
    let sink = try auditSink(format, invocation, target)
    try await exportThrough(sink, invocation, query, &watch)
    answer = try await sink.finish()
  }
  guard let head = watch.head else { throw CommandFailure("the agent sent no export", status: .data) }
  try cursor?.write(head)
  answer["size"] = .integer(Int64(clamping: head.size))
  answer["records"] = .integer(Int64(watch.records))
  if target != nil || invocation.command.option("to") != nil {
    invocation.answer(.object(answer)) {
      let place = target ?? invocation.command.option("to") ?? ""
      return "\(place): \(watch.records) of \(head.size) entries\n"
    }
  }
}

private func auditSink(_ format: AuditFormat, _ invocation: Invocation, _ target: String?) throws -> any AuditSink {
  if let url = invocation.command.option("to") {
    guard target == nil else {
      throw CommandFailure("--to and --output exclude each other", hint: "export twice", status: .usage)
    }
    return try collectorSink(format, url: url, ca: invocation.command.option("ca"))
  }
  guard let target else {
    throw CommandFailure(
      "the format \(format.rawValue) needs --output or --to", hint: "its proof is written beside the file",
      status: .usage)
  }
  return format == .tiles ? try AuditTilesSink(target) : try AuditFileSink(target, format)
}

func noCollector(_ format: AuditFormat) -> CommandFailure {
  CommandFailure(
    "the format \(format.rawValue) is for files, not for a collector", hint: "otlp and syslog can be sent with --to",
    status: .usage)
}

private func exportAsItIs(_ invocation: Invocation, _ query: [(String, String)], _ target: String?) async throws {
  guard let target else {
    return try await invocation.agent.stream("GET", "/skerry/v1/audit/export", query: query) {
      invocation.console.say($0)
    }
  }
  let output = try OutputFile(target)
  var size = 0
  var manifest = AuditManifest(.jsonl)
  var records: UInt64 = 0
  /// Nil when the export is no export.
  var reader: AuditExportReader? = AuditExportReader()
  try await invocation.agent.stream("GET", "/skerry/v1/audit/export", query: query) { piece in
    size += piece.count
    try output.write(piece)
    manifest.add(piece)
    do {
      for item in try reader?.push(piece) ?? [] {
        if case .header(let header) = item { manifest.begin(header) }
        if case .entry = item { records += 1 }
      }
    } catch { reader = nil }
  }
  try output.finish()
  var answer: [String: JSONValue] = ["format": "jsonl", "bytes": .integer(Int64(size))]
  if let whole = reader, (try? whole.finish()) != nil {
    answer = try manifest.finish(target, records: records)
  } else {
    unlink(target + ".proof")
  }
  answer["file"] = .string(target)
  invocation.answer(.object(answer)) { "\(target): \(Readable.bytes(UInt64(size)))\n" }
}

/// Our own form, as the agent writes it, looked at as it passes.
private func exportOwn(
  _ invocation: Invocation, _ query: [(String, String)], _ target: String?, _ watch: inout AuditCursor.Watch
) async throws -> [String: JSONValue] {
  let output = try target.map { try OutputFile($0) }
  var bytes = 0
  var manifest = AuditManifest(.jsonl)
  try await items(invocation, query) { piece, items in
    for item in items {
      try watch.see(item)
      if case .header(let header) = item { manifest.begin(header) }
    }
    bytes += piece.count
    manifest.add(piece)
    if let output { try output.write(piece) } else { invocation.console.say(piece) }
  }
  try watch.finish()
  guard let target, let output else { return ["file": .null, "bytes": .integer(Int64(bytes)), "format": "jsonl"] }
  try output.finish()
  var answer = try manifest.finish(target, records: UInt64(watch.records))
  answer["file"] = .string(target)
  return answer
}

private func exportThrough(
  _ sink: any AuditSink, _ invocation: Invocation, _ query: [(String, String)], _ watch: inout AuditCursor.Watch
) async throws {
  var origin = ""
  try await items(invocation, query) { _, items in
    for item in items {
      try watch.see(item)
      switch item {
      case .header(let header):
        origin = header.origin
        try sink.begin(header)
      case .entry(let index, let bytes, let hash):
        guard let record = AuditFormatRecord(origin: origin, index: index, bytes: bytes) else {
          throw CommandFailure("entry \(index) is no JSON object", status: .data)
        }
        try await sink.entry(record, hash: hash)
      case .gap(let gap): try sink.gap(gap)
      }
    }
  }
  try watch.finish()
}

private func items(
  _ invocation: Invocation, _ query: [(String, String)],
  each: ([UInt8], [AuditExportReader.Item]) async throws -> Void
) async throws {
  var reader = AuditExportReader()
  do {
    try await invocation.agent.stream("GET", "/skerry/v1/audit/export", query: query) { piece in
      try await each(piece, reader.push(piece))
    }
    try reader.finish()
  } catch let error as AuditExportError {
    throw CommandFailure("the agent's export is broken: \(error)", status: .data)
  }
}
