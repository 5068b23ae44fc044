import Trust

/// The file that an auditor gets: JSON Lines, every line in canonical form. The first line is this header. Then comes, in
/// order, one line for each entry, `{"hash":"<leaf hash, base64>","n":<index>,"record":{…}}`, and one for each run of
/// entries that are left out (`AuditExportGap`): what was not asked for, or was pruned.
public struct AuditExportHeader: Sendable, Hashable {
  public static let version: Int64 = 2

  /// The log's name; also the name of the device's note key.
  public let origin: String
  /// How many entries the log has.
  public let size: UInt64
  /// The head over all entries, signed by the device.
  public let checkpoint: SignedNote
  /// The last head that the witness cosigned, if ever; of this size or smaller.
  public let cosigned: SignedNote?
  /// Whose keys the file says they are. An auditor who has them from elsewhere compares.
  public let device: NoteVerifier
  public let witness: NoteVerifier?
  /// What was asked for. Nobody signs it: that nothing else was left out, an export can't prove.
  public let selection: AuditSelection

  public init(
    origin: String, size: UInt64, checkpoint: SignedNote, cosigned: SignedNote?, device: NoteVerifier,
    witness: NoteVerifier?, selection: AuditSelection = AuditSelection()
  ) {
    self.origin = origin
    self.size = size
    self.checkpoint = checkpoint
    self.cosigned = cosigned
    self.device = device
    self.witness = witness
    self.selection = selection
  }

  /// The first line, without the line feed.
  public var line: [UInt8] {
    JSONValue.object([
      "skerryAudit": .integer(Self.version),
      "origin": .string(origin),
      "size": .integer(Int64(clamping: size)),
      "checkpoint": .string(checkpoint.encoded),
      "cosigned": cosigned.map { .string($0.encoded) } ?? .null,
      "device": .string(device.vkey),
      "witness": witness.map { .string($0.vkey) } ?? .null,
      "selection": selection.json,
    ]).encoded()
  }

  /// Reads the first line; nothing is verified yet. Throws `AuditExportError`.
  public init(line: some Collection<UInt8>) throws(AuditExportError) {
    guard let value = try? JSONValue(parsing: line), let members = value.object else {
      throw AuditExportError("it is no JSON object")
    }
    guard members["skerryAudit"] != nil else { throw AuditExportError("this is no Skerry audit export") }
    guard members["skerryAudit"]?.integer == Self.version else {
      throw AuditExportError("its format is not the one that this program reads; use the skerry that wrote it")
    }
    guard value.encoded().elementsEqual(line) else { throw AuditExportError("it is not in canonical form") }
    let known: Set = ["skerryAudit", "origin", "size", "checkpoint", "cosigned", "device", "witness", "selection"]
    guard Set(members.keys) == known else { throw AuditExportError("its members are not the format's") }
    guard let origin = members["origin"]?.string, let count = members["size"]?.integer,
      let size = UInt64(exactly: count),
      let checkpoint = members["checkpoint"]?.string, let device = members["device"]?.string
    else { throw AuditExportError("a member has the wrong type") }
    do throws(NoteError) {
      self.init(
        origin: origin, size: size, checkpoint: try Self.note(checkpoint),
        cosigned: try Self.optional(members["cosigned"], Self.note), device: try Self.verifier(device),
        witness: try Self.optional(members["witness"], Self.verifier),
        selection: try Self.selection(members["selection"]))
    } catch {
      throw AuditExportError(error.description)
    }
  }

  private static func selection(_ value: JSONValue?) throws(NoteError) -> AuditSelection {
    guard let value, let selection = AuditSelection(json: value) else {
      throw .malformedText("its selection is not one that this program knows")
    }
    return selection
  }

  private static func optional<T>(
    _ value: JSONValue?, _ read: (String) throws(NoteError) -> T
  ) throws(NoteError) -> T? {
    switch value {
    case .null?: nil
    case .string(let text)?: try read(text)
    default: throw .malformedText("a member is neither text nor null")
    }
  }

  /// A note that is written in no other way than ours.
  private static func note(_ text: String) throws(NoteError) -> SignedNote {
    let note = try SignedNote(parsing: Array(text.utf8))
    guard note.encoded.utf8.elementsEqual(text.utf8) else { throw .malformedText("its base64 has stray bits") }
    return note
  }

  private static func verifier(_ vkey: String) throws(NoteError) -> NoteVerifier {
    let verifier = try NoteVerifier(vkey: vkey)
    guard verifier.vkey.utf8.elementsEqual(vkey.utf8) else { throw .malformedVerifierKey("its base64 has stray bits") }
    return verifier
  }
}

/// Why a line of an export can't be read.
public struct AuditExportError: Error, Hashable, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// One entry of an export.
public struct AuditExportEntry: Sendable, Hashable {
  public let index: UInt64
  /// The hash that the line states for its record.
  public let listedHash: Digest
  /// The record's own canonical bytes.
  public let record: [UInt8]

  static let start = Array("{\"hash\":\"".utf8)
  static let afterHash = Array("\",\"n\":".utf8)
  static let afterIndex = Array(",\"record\":".utf8)

  /// The line for a record that is in canonical form already, without the line feed. `hash` is what the tree has for
  /// it; without one it is the record's own.
  public static func line(index: UInt64, record: [UInt8], hash: Digest? = nil) -> [UInt8] {
    let text = Base64.encode((hash ?? Merkle.leafHash(record)).bytes)
    return start + Array(text.utf8) + afterHash + Array(String(index).utf8) + afterIndex + record + [0x7D]
  }

  /// Reads a line to the letter: it must be byte for byte its own canonical form. Throws `AuditExportError`.
  public init(line: some Collection<UInt8>) throws(AuditExportError) {
    guard let value = try? JSONValue(parsing: line), let members = value.object else {
      throw AuditExportError("the line is no JSON object")
    }
    guard value.encoded().elementsEqual(line) else { throw AuditExportError("the line is not in canonical form") }
    guard members.count == 3, let hash = members["hash"]?.string, let number = members["n"]?.integer,
      let record = members["record"], let index = UInt64(exactly: number)
    else { throw AuditExportError("the line has not the members hash, n and record") }
    guard let bytes = Base64.decode(hash), let listed = Digest(bytes: bytes), Base64.encode(bytes) == hash else {
      throw AuditExportError("its hash is not 32 bytes in base64")
    }
    guard record["n"]?.integer == number else { throw AuditExportError("its record has another number than its line") }
    self.index = index
    listedHash = listed
    self.record = record.encoded()
  }
}

/// A run of entries that are not in an export: `{"from":<index>,"roots":["<base64>",…],"to":<index>}`. The roots are those
/// of the complete subtrees that the run falls into (`Merkle.subtreeLevels`), so that the tree over all entries can be
/// computed without them.
public struct AuditExportGap: Sendable, Hashable {
  public let range: Range<UInt64>
  public let roots: [Digest]

  static let start = Array("{\"from\":".utf8)

  public init(_ range: Range<UInt64>, roots: [Digest]) {
    self.range = range
    self.roots = roots
  }

  /// The line, without the line feed.
  public var line: [UInt8] {
    JSONValue.object([
      "from": .integer(Int64(clamping: range.lowerBound)), "to": .integer(Int64(clamping: range.upperBound)),
      "roots": .array(roots.map { .string(Base64.encode($0.bytes)) }),
    ]).encoded()
  }

  /// Reads a line to the letter. Throws `AuditExportError`.
  public init(line: some Collection<UInt8>) throws(AuditExportError) {
    guard let value = try? JSONValue(parsing: line), let from = value["from"]?.integer.flatMap({ UInt64(exactly: $0) }),
      let to = value["to"]?.integer.flatMap({ UInt64(exactly: $0) }), let listed = value["roots"]?.array, from < to
    else { throw AuditExportError("the line is neither an entry nor a run of left-out entries") }
    roots = listed.compactMap { $0.string.flatMap { Base64.decode($0) }.flatMap { Digest(bytes: $0) } }
    range = from..<to
    guard self.line.elementsEqual(line), roots.count == Merkle.subtreeLevels(range).count else {
      throw AuditExportError("the line of left-out entries is not in canonical form")
    }
  }

  /// Adds the run to the tree before it. False when it does not begin where the tree ends.
  func append(to tree: inout MerkleFrontier) -> Bool {
    guard range.lowerBound == tree.size else { return false }
    return zip(roots, Merkle.subtreeLevels(range)).allSatisfy { tree.append(subtree: $0, level: $1) }
  }
}
