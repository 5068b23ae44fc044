import Trust

/// A run of a box's audit records on its way to the hub: a header line, then one line a record as in an export. With
/// the edge of the tree before the first record, the records alone prove that the new head continues the old one.
public struct AuditSegmentHeader: Sendable, Hashable {
  static let version: Int64 = 1
  public let origin: String
  /// The first record's index.
  public let from: UInt64
  /// The size of the log after the last record.
  public let to: UInt64
  /// The roots of the complete subtrees of the first `from` records, the largest first.
  public let edge: [Digest]

  public init(origin: String, from: UInt64, to: UInt64, edge: [Digest]) {
    self.origin = origin
    self.from = from
    self.to = to
    self.edge = edge
  }

  /// The first line, without the line feed.
  public var line: [UInt8] {
    JSONValue.object([
      "skerrySegment": .integer(Self.version), "origin": .string(origin), "from": .integer(Int64(clamping: from)),
      "to": .integer(Int64(clamping: to)), "edge": .array(edge.map { .string(Base64.encode($0.bytes)) }),
    ]).encoded()
  }

  public init(line: some Collection<UInt8>) throws(AuditSegmentError) {
    guard let value = try? JSONValue(parsing: line), value["skerrySegment"]?.integer == Self.version,
      let origin = value["origin"]?.string, let first = value["from"]?.integer, let last = value["to"]?.integer,
      let from = UInt64(exactly: first), let to = UInt64(exactly: last), from <= to,
      let hashes = value["edge"]?.array, hashes.count <= 64
    else { throw .malformed("its first line is no segment's header") }
    let edge = hashes.compactMap { $0.string.flatMap { Base64.decode($0) }.flatMap { Digest(bytes: $0) } }
    self.init(origin: origin, from: from, to: to, edge: edge)
    guard self.line.elementsEqual(line) else { throw .malformed("its header is not in canonical form") }
  }
}

/// Why a segment does not continue what the witness has seen.
public enum AuditSegmentError: Error, Hashable, Sendable, CustomStringConvertible {
  case malformed(String)
  /// It begins after the witness's head: records between them are missing.
  case gap(recorded: UInt64, from: UInt64)
  /// The witness has cosigned more than the segment reaches to.
  case behind(recorded: UInt64, to: UInt64)
  /// The records lead to another tree than the one that the witness cosigned, or than the one that the box signed.
  case inconsistent

  public var description: String {
    switch self {
    case .malformed(let what): "the audit segment is malformed: \(what)"
    case .gap(let recorded, let from):
      "the audit segment begins with record \(from), but the hub has only \(recorded); export again after an import"
    case .behind(let recorded, let to):
      "the audit segment ends at \(to) records, and the hub has cosigned \(recorded) already"
    case .inconsistent: "the audit records do not continue the log that the hub has cosigned"
    }
  }
}

/// Checks a segment that comes in pieces, in memory for one line and one edge of the tree.
public struct AuditSegmentVerifier: Sendable {
  private let origin: String
  private let recorded: (size: UInt64, root: Digest)
  private let checkpoint: Checkpoint
  private var line: [UInt8] = []
  private var header: AuditSegmentHeader?
  private var tree = MerkleFrontier()
  private var sawRecorded = false

  /// - recorded: the head that the witness cosigned last; nil before the first.
  /// - checkpoint: the head that the box signed over the segment's end; its signature was checked.
  public init(recorded: (size: UInt64, root: Digest)?, checkpoint: Checkpoint) {
    origin = checkpoint.origin
    self.recorded = recorded ?? (0, Merkle.emptyRoot)
    self.checkpoint = checkpoint
  }

  /// The segment's first record; known once its header was read.
  public var from: UInt64? { header?.from }

  public mutating func push(_ bytes: some Collection<UInt8>) throws(AuditSegmentError) {
    var rest = Array(bytes)[...]
    while let end = rest.firstIndex(of: 0x0A) {
      line += rest[..<end]
      rest = rest[(end + 1)...]
      try take()
      line = []
    }
    line += rest
    guard line.count <= AuditVerifier.maximumLineLength else { throw .malformed("a line is too long") }
  }

  /// Throws unless the records lead from what the witness knows to the head that the box signed.
  public func finish() throws(AuditSegmentError) {
    guard line.isEmpty, let header, tree.size == header.to else { throw .malformed("it ends too early") }
    guard tree.root == checkpoint.root, sawRecorded else { throw .inconsistent }
  }

  private mutating func take() throws(AuditSegmentError) {
    guard header != nil else { return try begin(try AuditSegmentHeader(line: line)) }
    guard tree.size < checkpoint.size else { throw .malformed("it has more records than its header says") }
    let entry: AuditExportEntry
    do { entry = try AuditExportEntry(line: line) } catch { throw .malformed("record \(tree.size): \(error)") }
    guard entry.index == tree.size else { throw .malformed("record \(tree.size) is not in its place") }
    let hash = Merkle.leafHash(entry.record)
    guard hash == entry.listedHash else { throw .malformed("record \(tree.size) has another hash than it says") }
    tree.append(hash)
    try compare()
  }

  private mutating func begin(_ header: AuditSegmentHeader) throws(AuditSegmentError) {
    guard header.origin == origin else { throw .malformed("it is another log's") }
    guard header.to == checkpoint.size else { throw .malformed("it does not end where the signed head does") }
    guard recorded.size >= header.from else { throw .gap(recorded: recorded.size, from: header.from) }
    guard recorded.size <= header.to else { throw .behind(recorded: recorded.size, to: header.to) }
    guard let edge = MerkleFrontier(size: header.from, subtrees: header.edge) else {
      throw .malformed("its edge is not one of \(header.from) records")
    }
    tree = edge
    self.header = header
    try compare()
  }

  /// At the size that the witness cosigned, the tree must be the one that it saw.
  private mutating func compare() throws(AuditSegmentError) {
    guard tree.size == recorded.size else { return }
    guard tree.root == recorded.root else { throw .inconsistent }
    sawRecorded = true
  }
}
