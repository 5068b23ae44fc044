import CommandLine
import Fleet
import Glibc
import Trust
import Web

/// A file in another program's form, and its proof beside it.
final class AuditFileSink: AuditSink {
  private let path: String
  private let format: AuditFormat
  private let file: OutputFile
  private let proof: OutputFile
  private var hasher: SHA256? = SHA256()
  private var bytes: UInt64 = 0
  private var records: UInt64 = 0
  /// Records that wait to be written together, with their hashes.
  private var waiting: [AuditFormatRecord] = []
  private var hashes: [[UInt8]] = []

  init(_ path: String, _ format: AuditFormat) throws {
    self.path = path
    self.format = format
    file = try OutputFile(path)
    proof = try OutputFile(path + ".proof")
    try write(format.preamble)
  }

  func begin(_ header: AuditExportHeader) throws { try proof.write(header.line + [0x0A]) }

  func entry(_ record: AuditFormatRecord, hash: [UInt8]) throws {
    waiting.append(record)
    hashes.append(hash)
    if waiting.count == 256 { try flush() }
  }

  func gap(_ gap: AuditExportGap) throws {
    try flush()
    try proof.write(gap.line + [0x0A])
  }

  func finish() throws -> [String: JSONValue] {
    try flush()
    guard let sha256 = hasher.take()?.finalize() else { return [:] }
    let trailer = AuditProofFile.Trailer(
      format: format, bytes: bytes, records: records, sha256: sha256, version: skerryVersion)
    try proof.write(trailer.line + [0x0A])
    try file.finish()
    try proof.finish()
    return [
      "file": .string(path), "proof": .string(path + ".proof"), "format": .string(format.rawValue),
      "bytes": .integer(Int64(clamping: bytes)), "sha256": .string(sha256.hex),
    ]
  }

  private func flush() throws {
    guard let first = waiting.first else { return }
    try write(format.encode(waiting, version: skerryVersion))
    try proof.write(AuditProofFile.line(from: first.index, hashes: hashes) + [0x0A])
    records += UInt64(waiting.count)
    waiting = []
    hashes = []
  }

  private func write(_ piece: [UInt8]) throws {
    try file.write(piece)
    hasher?.update(piece)
    bytes += UInt64(piece.count)
  }
}

/// A folder in C2SP tlog-tiles' layout; the checkpoint comes last.
final class AuditTilesSink: AuditSink {
  private let folder: String
  private var tiles = TlogTiles()
  private var header: AuditExportHeader?
  private var manifest: AuditManifest? = AuditManifest(.tiles)

  init(_ folder: String) throws {
    self.folder = folder
    guard mkdir(folder, 0o700) == 0 else {
      let code = errno
      throw code == EEXIST
        ? CommandFailure("\(folder) is there already", hint: "name a new folder", status: .usage)
        : fileFailure("make", folder, code)
    }
  }

  func begin(_ header: AuditExportHeader) throws {
    self.header = header
    manifest?.begin(header)
  }

  func entry(_ record: AuditFormatRecord, hash: [UInt8]) throws {
    do {
      for file in try tiles.append(record.bytes) { try write(file.path, file.bytes) }
    } catch is MerkleError {
      throw CommandFailure(
        "entry \(record.index) has \(record.bytes.count) bytes, and tlog-tiles takes \(TlogTiles.largestEntry)",
        hint: "export in another format", status: .data)
    }
  }

  func gap(_ gap: AuditExportGap) throws {
    throw CommandFailure(
      "tiles hold the whole log, and entries \(gap.range.lowerBound) to \(gap.range.upperBound - 1) are left out",
      hint: "export without a selection; a log that was pruned can be exported in the other formats", status: .data)
  }

  func finish() throws -> [String: JSONValue] {
    for file in tiles.finish() { try write(file.path, file.bytes) }
    guard let header, tiles.size == header.size else { throw CommandFailure("the export is cut off", status: .data) }
    var head = header.checkpoint
    // The witness's word stands under the same head, if it is the same.
    if let cosigned = header.cosigned, cosigned.text == head.text { head = cosigned }
    guard try Checkpoint(noteText: head.text).root == tiles.root else {
      throw CommandFailure(
        "the records are not those that the box signed",
        hint: "export as jsonl and verify it, which names the first bad one",
        status: .data)
    }
    try write("checkpoint", Array(head.encoded.utf8))
    var answer = try manifest.take()?.finish(folder, records: header.size) ?? [:]
    answer["folder"] = .string(folder)
    return answer
  }

  private func write(_ path: String, _ bytes: [UInt8]) throws {
    if path.hasPrefix("tile/entries/") { manifest?.add(bytes) }
    var below = folder
    for part in path.split(separator: "/").dropLast() {
      below += "/" + part
      if mkdir(below, 0o700) != 0, errno != EEXIST { throw fileFailure("make", below, errno) }
    }
    try OutputFile.write(bytes, to: folder + "/" + path)
  }
}

func collectorSink(_ format: AuditFormat, url: String, ca: String?) throws -> any AuditSink {
  switch format {
  case .otlp:
    guard url.hasPrefix("http://") || url.hasPrefix("https://") else {
      throw CommandFailure("--to \(url): an OTLP collector is named by http:// or https://", status: .usage)
    }
    return AuditOTLPSink(url, ca: ca)
  case .syslog:
    let place = url.hasPrefix("tls://") ? url.dropFirst(6) : ""
    guard let colon = place.lastIndex(of: ":"), let port = UInt16(place[place.index(after: colon)...]), port > 0,
      colon > place.startIndex
    else {
      throw CommandFailure("--to \(url): a syslog collector is named by tls://HOST:PORT", status: .usage)
    }
    return try AuditSyslogSink(host: String(place[..<colon]), port: port, ca: ca)
  default: throw noCollector(format)
  }
}

/// Posts to an OpenTelemetry collector, some hundred records at a time.
final class AuditOTLPSink: AuditSink {
  private let url: String
  private let ca: String?
  private let client = HTTPClient()
  private var waiting: [AuditFormatRecord] = []

  init(_ url: String, ca: String?) {
    self.url = url
    self.ca = ca
  }

  func begin(_ header: AuditExportHeader) {}
  func gap(_ gap: AuditExportGap) {}

  func entry(_ record: AuditFormatRecord, hash: [UInt8]) async throws {
    waiting.append(record)
    if waiting.count == 512 { try await flush() }
  }

  func finish() async throws -> [String: JSONValue] {
    try await flush()
    await client.close()
    return ["to": .string(url), "format": "otlp"]
  }

  private func flush() async throws {
    guard !waiting.isEmpty else { return }
    var request = ClientRequest(
      method: "POST", url: url, headers: ["Content-Type": "application/json"],
      body: AuditOTLP.request(waiting, version: skerryVersion).encoded())
    request.caFile = ca
    request.totalTimeout = .seconds(60)
    let answer: ClientResponse
    do { answer = try await client.send(request) } catch let error as HTTPClientError {
      throw CommandFailure(
        "the collector at \(url) can't be reached: \(error.message)", hint: "nothing is lost: run the export again",
        status: .hubUnavailable)
    }
    guard answer.status == 200 else {
      throw CommandFailure(
        "the collector at \(url) answered \(answer.status)", hint: "nothing is lost: run the export again",
        status: API.exitStatus(for: answer.status))
    }
    // "The server MUST set partial_success … when some of the records were rejected."
    let rejected = (try? JSONValue(parsing: answer.body))?["partialSuccess"]?["rejectedLogRecords"]
    if let rejected, rejected.plain != "0", rejected.plain != "" {
      throw CommandFailure("the collector at \(url) rejected \(rejected.plain) records", status: .data)
    }
    waiting = []
  }
}

/// Sends to a syslog collector over TLS (RFC 5425). The protocol has no acknowledgement: what was sent may be lost with the
/// connection, and a collector that refuses tells nobody.
final class AuditSyslogSink: AuditSink {
  private let connection: TLSConnection
  private let place: String
  private var waiting: [UInt8] = []

  init(host: String, port: UInt16, ca: String?) throws {
    place = "tls://\(host):\(port)"
    do { connection = try TLSConnection(host: host, port: port, caFile: ca) } catch {
      throw CommandFailure(
        "the collector at \(place) can't be reached: \(error.message)",
        hint: "nothing is lost: run the export again; --ca names the certificate that it must have",
        status: .hubUnavailable)
    }
  }

  func begin(_ header: AuditExportHeader) {}
  func gap(_ gap: AuditExportGap) {}

  func entry(_ record: AuditFormatRecord, hash: [UInt8]) throws {
    waiting += AuditSyslog.frame(record)
    if waiting.count > 1 << 16 { try flush() }
  }

  func finish() throws -> [String: JSONValue] {
    try flush()
    connection.close()
    return ["to": .string(place), "format": "syslog"]
  }

  private func flush() throws {
    do { try connection.send(waiting) } catch {
      throw CommandFailure(
        "the collector at \(place) broke off: \(error.message)", hint: "run the export again", status: .tryLater)
    }
    waiting = []
  }
}
