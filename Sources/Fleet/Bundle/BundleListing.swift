import Trust

/// Adds up what a manifest must say of entries that are written later, or elsewhere.
public struct BundleListing: ~Copyable {
  public private(set) var entries: UInt64 = 0
  public private(set) var length: UInt64 = 0
  private var heads = SHA256()
  private var last: BundleEntry?

  public init() {}

  /// Entries come in their order. Throws `BundleError` for one that no reader would take.
  public mutating func add(_ entry: BundleEntry) throws(BundleError) {
    guard BundleEntry.isName(entry.name.utf8) else { throw .malformed("\(entry.name) is no entry's name") }
    guard entry.length <= entry.kind.limit else { throw .tooLarge("\(entry.kind) \(entry.name)") }
    if let last, !BundleEntry.isOrdered(last, entry) { throw .malformed("\(entry.name) is not in its place") }
    let header = entry.header
    entries += 1
    length += UInt64(header.count) + entry.length
    guard entries <= BundleFormat.mostEntries, length <= BundleFormat.longestContent else {
      throw .tooLarge("the bundle")
    }
    heads.update(header)
    last = entry
  }

  /// SHA-256 over all heads.
  public consuming func finish() -> (entries: UInt64, length: UInt64, sha256: Digest) {
    let (entries, length) = (entries, length)
    return (entries, length, heads.finalize())
  }
}

/// A bundle whose entries are all at hand.
public enum SmallBundle {
  /// The entries, sorted as they stand in the file, with what the manifest says of them.
  public static func content(
    _ parts: [(kind: BundleKind, name: String, bytes: [UInt8])]
  ) throws(BundleError) -> (bytes: [UInt8], entries: UInt64, length: UInt64, sha256: Digest) {
    let listed = parts.map { (entry: BundleEntry(kind: $0.kind, name: $0.name, bytes: $0.bytes), bytes: $0.bytes) }
      .sorted { BundleEntry.isOrdered($0.entry, $1.entry) }
    var listing = BundleListing()
    var bytes: [UInt8] = []
    for part in listed {
      try listing.add(part.entry)
      bytes += part.entry.header + part.bytes
    }
    let sums = listing.finish()
    return (bytes, sums.entries, sums.length, sums.sha256)
  }
}
