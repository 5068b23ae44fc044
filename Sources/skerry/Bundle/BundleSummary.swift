import CommandLine
import Fleet
import FoundationEssentials
import Models
import Trust

/// What a bundle holds, found by reading all of it.
struct BundleSummary {
  private(set) var manifest: BundleManifest
  private(set) var keyID: String
  /// Entries and bytes by kind.
  private(set) var counts: [BundleKind: (entries: Int, bytes: UInt64)] = [:]
  private(set) var models: [String] = []
  /// The digest of the first root, and the version of the last.
  private(set) var firstRoot: Digest?
  private(set) var rootVersion: Int64?
  /// Whether the signature is one that the bundle's own roots, or its box's id, vouch for.
  private(set) var isSigned = false
  /// The first expiry among timestamps and snapshots: after it boxes refuse what is new in the bundle.
  private(set) var goodUntil: Date?

  /// Throws `CommandFailure` for what is no whole bundle.
  init(reading path: String) throws {
    do { self = try BundleSummary(path) } catch let error as BundleError {
      throw CommandFailure("\(path): \(error)", status: .data)
    }
  }

  private init(_ path: String) throws {
    var reader = BundleReader()
    var signed: SignedBundleManifest?
    var roots: BundleRoots?
    var gathered: [UInt8] = []
    var found = Found()
    try readPieces(path) { piece in
      try reader.push(piece) { event in
        switch event {
        case .manifest(let manifest): signed = manifest
        case .entry(let entry):
          gathered = []
          found.count(entry)
        case .bytes(let part): if gathered.count < 8 << 20 { gathered += part }
        case .end(let entry):
          if entry.kind == .imageRoot, entry.name == "1.root.json" {
            found.firstRoot = Digest(of: gathered)
            roots = try? BundleRoots(image: nil, director: nil, anchor: found.firstRoot)
          }
          if entry.kind == .imageRoot || entry.kind == .directorRoot { try? roots?.take(entry, gathered) }
          found.look(entry, gathered)
        }
      }
      return true
    }
    try reader.finish()
    guard let signed else { throw BundleError.cut }
    manifest = signed.manifest
    keyID = signed.keyID
    isSigned = manifest.origin == .box ? signed.isSignedByItsBox : signed.isSigned(byOneOf: roots?.keys ?? [])
    (counts, firstRoot) = (found.counts, found.firstRoot)
    models = found.models.sorted()
    rootVersion = roots?.image?.rootVersion
    goodUntil = found.goodUntil
  }

  private struct Found {
    var counts: [BundleKind: (entries: Int, bytes: UInt64)] = [:]
    var models: Set<String> = []
    var firstRoot: Digest?
    var goodUntil: Date?

    mutating func count(_ entry: BundleEntry) {
      let before = counts[entry.kind] ?? (0, 0)
      counts[entry.kind] = (before.entries + 1, before.bytes + entry.length)
    }

    mutating func look(_ entry: BundleEntry, _ bytes: [UInt8]) {
      let name = entry.name.split(separator: "/").last ?? ""
      switch entry.kind {
      case .directorMetadata where name.hasSuffix(".targets.json"):
        guard let document = try? TUFDocument(parsing: bytes, as: .targets), let targets = try? TUFTargets(document)
        else { return }
        for target in targets.targets {
          guard let fields = target.custom?["skerry"] else { continue }
          models.insert("\(fields.text("name")):\(fields.text("version"))")
        }
      case .imageMetadata where name == "timestamp.json", .directorMetadata where name == "timestamp.json":
        guard let document = try? TUFDocument(parsing: bytes, as: .timestamp) else { return }
        goodUntil = min(goodUntil ?? document.expires, document.expires)
      default: break
      }
    }
  }

  /// The manifest alone, from the file's beginning.
  static func head(of input: InputFile) throws -> SignedBundleManifest {
    var reader = BundleReader()
    var found: SignedBundleManifest?
    do {
      let head = try input.read(0, BundleFormat.headLength)
      try reader.push(head) { _ in }
      let length = head.suffix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
      try reader.push(try input.read(UInt64(BundleFormat.headLength), length)) { event in
        if case .manifest(let signed) = event { found = signed }
      }
    } catch let error as BundleError {
      throw CommandFailure("\(input.path): \(error)", status: .data)
    }
    guard let found else { throw CommandFailure("\(input.path): \(BundleError.cut)", status: .data) }
    return found
  }

  // MARK: telling

  private static let names: [(BundleKind, String)] = [
    (.imageRoot, "roots"), (.directorRoot, "directorRoots"), (.imageMetadata, "metadata"),
    (.directorMetadata, "directorMetadata"), (.answer, "answers"), (.policy, "policies"), (.signature, "signatures"),
    (.index, "indexes"), (.target, "files"), (.chunk, "chunks"), (.sealed, "sealed"), (.enrollment, "enrolments"),
  ]

  func json(file: String) -> JSONValue {
    let entries = BundleSummary.names.compactMap { kind, name in
      counts[kind].map {
        (
          name,
          JSONValue.object(["entries": .integer(Int64($0.entries)), "bytes": .integer(Int64(clamping: $0.bytes))])
        )
      }
    }
    return [
      "file": .string(file), "from": .string(manifest.origin.rawValue), "serial": .integer(manifest.serial),
      "created": .integer(manifest.created), "hub": .string(manifest.hub),
      "devices": .array(manifest.devices.map { .string($0.hex) }), "key": .string(keyID), "signed": .bool(isSigned),
      "root": firstRoot.map { .string($0.hex) } ?? .null, "rootVersion": rootVersion.map { .integer($0) } ?? .null,
      "goodUntil": goodUntil.map { .integer(Int64($0.timeIntervalSince1970)) } ?? .null,
      "models": .array(models.map { .string($0) }), "bytes": .integer(Int64(clamping: manifest.length)),
      "content": .object(Dictionary(entries, uniquingKeysWith: { first, _ in first })),
    ]
  }

  func text(file: String) -> String {
    let isHubs = manifest.origin == .hub
    let boxes = manifest.devices.map(\.hex)
    let shown = boxes.prefix(5).joined(separator: ", ") + (boxes.count > 5 ? " and \(boxes.count - 5) more" : "")
    let words: [(String, String?)] = [
      ("bundle", "\(manifest.serial), written \(timestamp(manifest.created)), \(Readable.bytes(manifest.length))"),
      (isHubs ? "for" : "from", shown), ("hub", manifest.hub),
      ("signed by", "\(keyID)\(isSigned ? "" : " — NOT a key that the bundle's own roots vouch for")"),
      ("first root", firstRoot.map { "\($0.hex)\(rootVersion.map { ", newest version \($0)" } ?? "")" }),
      ("good until", goodUntil.map { timestamp(Int64($0.timeIntervalSince1970)) }),
      ("models", isHubs ? (models.isEmpty ? "none" : models.joined(separator: ", ")) : nil),
    ]
    let content = BundleSummary.names.compactMap { kind, name in
      counts[kind].map { ("  " + name, Optional("\($0.entries), \(Readable.bytes($0.bytes))")) }
    }
    return facts(words + content)
  }
}

let bundleInspect: Runner = { invocation in
  let file = invocation.argument("FILE")
  let summary = try BundleSummary(reading: file)
  if let text = invocation.command.option("root") {
    guard let root = Digest(hex: trimmed(text)) else {
      throw UsageError(path: invocation.command.path, "--root is 64 hexadecimal digits")
    }
    guard summary.firstRoot == root else {
      throw CommandFailure(
        "\(file): its first root is \(summary.firstRoot?.hex ?? "missing"), not the one given",
        hint: "don't import it; find out where it comes from", status: .data)
    }
  }
  invocation.answer(summary.json(file: file)) { summary.text(file: file) }
  guard summary.isSigned else {
    throw CommandFailure(
      "\(file) is signed by a key that nothing in it vouches for", hint: "no box takes it", status: .data)
  }
}
