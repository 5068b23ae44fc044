import Trust

/// What a reader comes upon, in this order: the manifest once, then for each entry its head, its bytes in pieces, and
/// its end, by which its bytes had the digest in its head.
public enum BundleEvent: Sendable {
  case manifest(SignedBundleManifest)
  case entry(BundleEntry)
  case bytes(ArraySlice<UInt8>)
  case end(BundleEntry)
}

/// Reads a bundle that comes in pieces of any size, in memory for one manifest or one entry's head. Every limit holds
/// before anything is kept. The caller decides at `.manifest` whose signature counts, and applies nothing before
/// `finish` has returned: only then are all entries those that were signed.
public struct BundleReader: ~Copyable {
  private enum Step {
    case head
    case manifest(Int)
    case entryHead
    case body(BundleEntry, left: UInt64)
    case done
  }

  private var step: Step
  /// Of what is being gathered: a head or the manifest.
  private var gathered: [UInt8] = []
  private var manifest: BundleManifest?
  private var last: BundleEntry?
  private var entriesLeft: UInt64
  private var bytesLeft: UInt64
  private var heads: SHA256?
  private var body: SHA256?

  /// A whole bundle.
  public init() {
    step = .head
    entriesLeft = 0
    bytesLeft = BundleFormat.longestContent
  }

  /// A run of entries without head and manifest, as a sealed body holds it; it may end after any entry.
  public init(entriesOf length: UInt64) {
    step = .entryHead
    entriesLeft = BundleFormat.mostEntries
    bytesLeft = length
  }

  /// Takes the next piece. Throws `BundleError`, and what `take` throws; the reader is of no more use then.
  public mutating func push(_ piece: some Collection<UInt8>, _ take: (BundleEvent) throws -> Void) throws {
    var rest = Array(piece)[...]
    while true {
      switch step {
      case .done:
        guard rest.isEmpty else { throw BundleError.trailing }
        return
      case .head:
        guard gather(&rest, BundleFormat.headLength) else { return }
        step = .manifest(try BundleReader.manifestLength(gathered))
        gathered = []
      case .manifest(let length):
        guard gather(&rest, length) else { return }
        try begin(try SignedBundleManifest(parsing: gathered), take)
      case .entryHead:
        guard gather(&rest, 3) else { return }
        let nameLength = Int(gathered[1]) | Int(gathered[2]) << 8
        guard (1...BundleFormat.longestName).contains(nameLength) else {
          throw BundleError.malformed("an entry's name has \(nameLength) bytes")
        }
        guard gather(&rest, BundleEntry.headerLength(name: nameLength)) else { return }
        let entry = try entry(gathered)
        try take(.entry(entry))
        step = .body(entry, left: entry.length)
        body = SHA256()
      case .body(let entry, let left):
        let count = Int(min(left, UInt64(rest.count)))
        if count > 0 {
          let part = rest.prefix(count)
          body?.update(part)
          try take(.bytes(part))
          rest = rest.dropFirst(count)
          step = .body(entry, left: left - UInt64(count))
        }
        guard left == UInt64(count) else { return }
        guard body.take()?.finalize() == entry.sha256 else {
          throw BundleError.altered(entry: "\(entry.kind) \(entry.name)")
        }
        try take(.end(entry))
        step = manifest != nil && entriesLeft == 0 ? .done : .entryHead
      }
    }
  }

  /// Says that no more comes. Throws `BundleError` unless the bundle is whole and its entries are those that were
  /// signed.
  public mutating func finish() throws(BundleError) {
    switch step {
    case .done: break
    // A run of entries ends where its length says.
    case .entryHead where manifest == nil && gathered.isEmpty && bytesLeft == 0: return
    default: throw .cut
    }
    guard bytesLeft == 0, let manifest else { throw .otherContent }
    guard heads.take()?.finalize() == manifest.sha256 else { throw .otherContent }
  }

  /// True once `count` bytes are gathered.
  private mutating func gather(_ rest: inout ArraySlice<UInt8>, _ count: Int) -> Bool {
    let wanted = count - gathered.count
    if wanted > 0 {
      gathered += rest.prefix(wanted)
      rest = rest.dropFirst(wanted)
    }
    return gathered.count >= count
  }

  private static func manifestLength(_ head: [UInt8]) throws(BundleError) -> Int {
    guard head.starts(with: BundleFormat.magic) else { throw .notABundle }
    let version = number(head[8..<12])
    guard version == UInt64(BundleFormat.version) else { throw .unknownVersion(UInt32(clamping: version)) }
    let length = Int(number(head[12..<16]))
    guard length <= BundleFormat.manifestLimit else { throw .tooLarge("the manifest") }
    guard length > 0 else { throw .malformed("it has no manifest") }
    return length
  }

  private mutating func begin(_ signed: SignedBundleManifest, _ take: (BundleEvent) throws -> Void) throws {
    gathered = []
    manifest = signed.manifest
    entriesLeft = signed.manifest.entries
    bytesLeft = signed.manifest.length
    heads = SHA256()
    try take(.manifest(signed))
    step = entriesLeft == 0 ? .done : .entryHead
  }

  private mutating func entry(_ head: [UInt8]) throws(BundleError) -> BundleEntry {
    guard let kind = BundleKind(rawValue: head[0]) else { throw .malformed("an entry of unknown kind \(head[0])") }
    let name = head[3..<head.count - 8 - Digest.length]
    guard BundleEntry.isName(name) else { throw .malformed("an entry's name is none") }
    guard let digest = Digest(bytes: head.suffix(Digest.length)) else { throw .malformed("an entry without digest") }
    let entry = BundleEntry(
      kind: kind, name: String(decoding: name, as: UTF8.self),
      length: BundleReader.number(head[(head.count - 8 - Digest.length)..<(head.count - Digest.length)]), sha256: digest
    )
    guard entry.length <= kind.limit else { throw .tooLarge("\(kind) \(entry.name)") }
    if let last, !BundleEntry.isOrdered(last, entry) { throw .malformed("\(kind) \(entry.name) is not in its place") }
    guard entriesLeft > 0 else { throw .tooLarge("the number of entries") }
    let size = UInt64(head.count) + entry.length
    guard size <= bytesLeft else { throw .malformed("its entries are longer than its manifest says") }
    entriesLeft -= 1
    bytesLeft -= size
    heads?.update(head)
    last = entry
    gathered = []
    return entry
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
