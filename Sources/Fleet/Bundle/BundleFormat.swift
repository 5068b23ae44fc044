import Trust

/// The container that travels on a stick (docs/formats.md, "Bundle"): a head, a signed manifest, and entries one after
/// the other. All numbers are little-endian.
public enum BundleFormat {
  /// `SKRYBNDL`.
  public static let magic = Array("SKRYBNDL".utf8)
  public static let version: UInt32 = 1
  /// Magic, version and the manifest's length, in bytes.
  public static let headLength = 16
  /// The manifest's envelope has at most this many bytes.
  public static let manifestLimit = 1 << 20
  public static let mostEntries: UInt64 = 8_000_000
  /// Bytes after the manifest, at most: 4 TiB.
  public static let longestContent: UInt64 = 1 << 42
  public static let longestName = 255

  /// What the manifest is signed as (DSSE's payloadType).
  public static let payloadType = "application/vnd.skerry.bundle+json"

  /// The head and the envelope.
  public static func head(_ manifest: SignedBundleManifest) -> [UInt8] {
    let envelope = manifest.encoded
    return magic + little(version) + little(UInt32(clamping: envelope.count)) + envelope
  }

  static func little<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
}

/// What an entry is. The number is in the file, and entries stand in the order of these numbers.
public enum BundleKind: UInt8, Sendable, CaseIterable {
  /// `N.root.json` of the image repository. Roots come first: they name the key that the manifest must be signed by.
  case imageRoot = 1
  /// `N.root.json` of the director: one chain for all boxes.
  case directorRoot = 2
  /// `timestamp.json`, `N.snapshot.json`, `N.targets.json` and delegated roles of the image repository.
  case imageMetadata = 3
  /// What the director signed for one box, below its id.
  case directorMetadata = 4
  /// What the hub tells one box, by its id: `BundleAnswer`.
  case answer = 5
  /// A policy file, by its name.
  case policy = 6
  /// A publisher's own signature, by its SHA-256.
  case signature = 7
  /// A chunk index (`.caibx`), by its SHA-256.
  case index = 8
  /// A whole target's bytes, by their SHA-256.
  case target = 9
  /// A chunk as a casync store holds it (`.cacnk`), by its id.
  case chunk = 10

  /// What a box tells its hub, sealed to the hub's key: entries 33 to 36 in a row.
  case sealed = 32
  /// The body of POST /v1/sync.
  case state = 33
  /// The body of POST /v1/outbox.
  case outbox = 34
  /// The body of POST /v1/audit/add-checkpoint.
  case checkpoint = 35
  /// An audit segment.
  case records = 36
  /// A box asks to join.
  case enrollment = 40

  /// An entry of this kind has at most so many bytes.
  public var limit: UInt64 {
    switch self {
    case .imageRoot, .directorRoot: 512_000
    case .imageMetadata, .directorMetadata: 8 << 20
    case .answer, .policy: 1 << 20
    case .index, .signature: 64 << 20
    case .chunk: (16 << 20) + (1 << 20)
    case .state: 256 << 10
    case .outbox: 4 << 20
    case .checkpoint, .enrollment: 64 << 10
    case .target, .sealed, .records: BundleFormat.longestContent
    }
  }
}

/// The head of one entry: what it is, how long it is, and the SHA-256 of its bytes.
public struct BundleEntry: Sendable, Hashable {
  public var kind: BundleKind
  /// Letters, digits, `.`, `-`, `_`, `%` and `/`.
  public var name: String
  /// Bytes that follow the entry's head.
  public var length: UInt64
  public var sha256: Digest

  public init(kind: BundleKind, name: String, length: UInt64, sha256: Digest) {
    self.kind = kind
    self.name = name
    self.length = length
    self.sha256 = sha256
  }

  /// An entry whose bytes are at hand.
  public init(kind: BundleKind, name: String, bytes: [UInt8]) {
    self.init(kind: kind, name: name, length: UInt64(bytes.count), sha256: Digest(of: bytes))
  }

  /// Kind (1 byte), the name's length (2), the name, the length (8), the digest (32).
  public var header: [UInt8] {
    let name = Array(name.utf8)
    return [kind.rawValue] + BundleFormat.little(UInt16(clamping: name.count)) + name + BundleFormat.little(length)
      + sha256.bytes
  }

  /// The header's length with a name of so many bytes.
  static func headerLength(name: Int) -> Int { 1 + 2 + name + 8 + Digest.length }

  /// Entries stand by kind, then by the length of the name, then by the name's bytes: `2.root.json` before
  /// `10.root.json`, and none twice.
  public static func isOrdered(_ first: BundleEntry, _ second: BundleEntry) -> Bool {
    let (one, other) = (first.name.utf8, second.name.utf8)
    if first.kind != second.kind { return first.kind.rawValue < second.kind.rawValue }
    if one.count != other.count { return one.count < other.count }
    return one.lexicographicallyPrecedes(other)
  }

  /// No name leaves the folder that it is looked up in.
  static func isName(_ bytes: some Collection<UInt8>) -> Bool {
    guard (1...BundleFormat.longestName).contains(bytes.count) else { return false }
    let isPlain = bytes.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x25, 0x2F: true
      default: false
      }
    }
    return isPlain
      && bytes.split(separator: 0x2F, omittingEmptySubsequences: false).allSatisfy { part in
        !part.isEmpty && part.contains { $0 != 0x2E }
      }
  }
}

/// Why bytes are no bundle that may be taken. Nothing of such a bundle is applied.
public enum BundleError: Error, Hashable, Sendable, CustomStringConvertible {
  case notABundle
  case unknownVersion(UInt32)
  case malformed(String)
  /// It ends before its manifest says.
  case cut
  /// Bytes after its end.
  case trailing
  /// An entry's bytes do not have the digest in its head.
  case altered(entry: String)
  /// The entries are not those that the manifest was signed over.
  case otherContent
  case tooLarge(String)
  /// Nobody who may has signed it.
  case badSignature
  /// It is for others.
  case notForThisBox(devices: Int)
  /// A newer one was taken before.
  case older(serial: Int64, have: Int64)

  public var description: String {
    switch self {
    case .notABundle: "this is no Skerry bundle"
    case .unknownVersion(let version): "the bundle's format \(version) is newer than this program; use a newer skerry"
    case .malformed(let what): "the bundle is malformed: \(what)"
    case .cut: "the bundle is cut short; copy it again"
    case .trailing: "there are bytes after the bundle's end; copy it again"
    case .altered(let entry): "the bundle's entry \(entry) was altered; copy it again"
    case .otherContent: "the bundle's content is not what its manifest was signed over"
    case .tooLarge(let what): "\(what) is larger than a bundle may hold"
    case .badSignature: "the bundle is not signed by a key that this side trusts"
    case .notForThisBox(let devices):
      "the bundle is for \(devices == 1 ? "another box" : "\(devices) other boxes"), not for this one"
    case .older(let serial, let have):
      "the bundle (number \(serial)) is older than the one that was taken before (number \(have)); make a new one"
    }
  }
}
