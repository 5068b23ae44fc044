import Trust

/// The roots in a bundle, taken in order: they tell whose signature its manifest must carry. What they say is believed
/// because the box's own root leads to them, or because the first has the digest that an enrolment token names.
public struct BundleRoots: Sendable {
  private let anchor: Digest?
  /// The image repository's chain; nil before the first root of a box that joins.
  public private(set) var image: TrustedMetadata?
  private var director: TrustedMetadata?
  /// The first root of a box that joins.
  public private(set) var firstRoot: [UInt8]?

  /// - image, director: the box's newest trusted roots, nil where it has none.
  /// - anchor: the digest of 1.root.json, for a box that joins.
  public init(image: [UInt8]?, director: [UInt8]?, anchor: Digest?) throws(TUFError) {
    self.anchor = anchor
    if let image { self.image = try TrustedMetadata(trustedRoot: image) }
    if let director { self.director = try TrustedMetadata(trustedRoot: director) }
  }

  /// Takes a root entry; roots that the box is past are passed over. Throws `TUFError` for one that the one before it does
  /// not lead to.
  public mutating func take(_ entry: BundleEntry, _ bytes: [UInt8]) throws(TUFError) {
    guard let version = BundleRoots.version(entry.name[...]) else { return }
    switch entry.kind {
    case .imageRoot: try takeImage(version, bytes)
    case .directorRoot: try takeDirector(version, bytes)
    default: break
    }
  }

  private mutating func takeImage(_ version: Int64, _ bytes: [UInt8]) throws(TUFError) {
    guard image != nil else {
      guard version == 1, let anchor, Digest(of: bytes) == anchor else { return }
      image = try TrustedMetadata(trustedRoot: bytes)
      firstRoot = bytes
      return
    }
    if let known = image?.rootVersion, version == known + 1 { try image?.updateRoot(bytes) }
  }

  private mutating func takeDirector(_ version: Int64, _ bytes: [UInt8]) throws(TUFError) {
    guard director != nil else {
      if version == 1 { director = try TrustedMetadata(trustedRoot: bytes) }
      return
    }
    if let known = director?.rootVersion, version == known + 1 { try director?.updateRoot(bytes) }
  }

  /// Whose signature counts: the keys that sign the time stamps of the image repository, and of the director
  /// where the image repository's root keys vouch for it.
  public var keys: [TUFKey] {
    guard let image else { return [] }
    var roots = [image.root]
    if let director, TUFBinding(of: director.root.document).repository == TUFBinding.director,
      (try? image.demandAnchor(of: director.root)) != nil
    {
      roots.append(director.root)
    }
    return roots.flatMap { root in root.roleKeys(.timestamp).keyIDs.compactMap { root.keys[$0] } }
  }

  /// N of `N.root.json`.
  private static func version(_ file: Substring) -> Int64? {
    guard file.hasSuffix(".root.json"), let number = Int64(file.dropLast(10)), number > 0,
      String(number) == file.dropLast(10)
    else { return nil }
    return number
  }
}
