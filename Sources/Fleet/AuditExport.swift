import Trust

/// The file that an auditor gets: JSON Lines, every line in canonical form. The first line is this header, then one
/// line an entry, from the first to the last:
/// `{"hash":"<leaf hash, base64>","n":<index>,"record":{…}}`.
public struct AuditExportHeader: Sendable, Hashable {
  public static let version: Int64 = 1

  /// The log's name; also the name of the device's note key.
  public let origin: String
  /// How many entries follow.
  public let size: UInt64
  /// The head over these entries, signed by the device.
  public let checkpoint: SignedNote
  /// The last head that the witness cosigned, if ever; of this size or smaller.
  public let cosigned: SignedNote?
  /// Whose keys the file says they are. An auditor who has them from elsewhere compares.
  public let device: NoteVerifier
  public let witness: NoteVerifier?

  public init(
    origin: String, size: UInt64, checkpoint: SignedNote, cosigned: SignedNote?, device: NoteVerifier,
    witness: NoteVerifier?
  ) {
    self.origin = origin
    self.size = size
    self.checkpoint = checkpoint
    self.cosigned = cosigned
    self.device = device
    self.witness = witness
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
    ]).encoded()
  }

  /// Reads the first line; nothing is verified yet. Throws `AuditExportError`.
  public init(line: some Collection<UInt8>) throws(AuditExportError) {
    guard let value = try? JSONValue(parsing: line), let members = value.object else {
      throw AuditExportError("it is no JSON object")
    }
    guard members["skerryAudit"] != nil else { throw AuditExportError("this is no Skerry audit export") }
    guard members["skerryAudit"]?.integer == Self.version else {
      throw AuditExportError("its format is newer than this program; use a newer skerry")
    }
    guard value.encoded().elementsEqual(line) else { throw AuditExportError("it is not in canonical form") }
    let known: Set = ["skerryAudit", "origin", "size", "checkpoint", "cosigned", "device", "witness"]
    guard Set(members.keys) == known else { throw AuditExportError("its members are not the format's") }
    guard let origin = members["origin"]?.string, let count = members["size"]?.integer,
      let size = UInt64(exactly: count),
      let checkpoint = members["checkpoint"]?.string, let device = members["device"]?.string
    else { throw AuditExportError("a member has the wrong type") }
    do throws(NoteError) {
      self.init(
        origin: origin, size: size, checkpoint: try Self.note(checkpoint),
        cosigned: try Self.optional(members["cosigned"], Self.note), device: try Self.verifier(device),
        witness: try Self.optional(members["witness"], Self.verifier))
    } catch {
      throw AuditExportError(error.description)
    }
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

  /// The line for a record that is in canonical form already, without the line feed. `hash` is what the tree has for
  /// it; without one it is the record's own.
  public static func line(index: UInt64, record: [UInt8], hash: Digest? = nil) -> [UInt8] {
    let text = Base64.encode((hash ?? Merkle.leafHash(record)).bytes)
    return Array("{\"hash\":\"\(text)\",\"n\":\(index),\"record\":".utf8) + record + [0x7D]
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
