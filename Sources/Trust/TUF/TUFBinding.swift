/// To what a metadata file belongs, apart from its role. Two repositories whose files are signed with the same keys must
/// not be able to stand in for each other: the image repository and the director share root keys and the online key.
///
/// It is the member `skerry` of the signed part: `"repository": "director"` in a director's root, `"device": ID` in what
/// a director signs for a box. A file of the image repository has neither.
public struct TUFBinding: Hashable, Sendable {
  public let repository: String?
  public let device: String?

  public static let director = "director"
  public static let image = TUFBinding()

  public init(repository: String? = nil, device: String? = nil) {
    self.repository = repository
    self.device = device
  }

  /// What a file says that it belongs to.
  public init(of document: TUFDocument) {
    self.init(
      repository: document.signed["skerry"]?["repository"]?.string, device: document.signed["skerry"]?["device"]?.string
    )
  }
}

extension TUFSigned {
  /// The same, bound.
  public func bound(to binding: TUFBinding) -> TUFSigned {
    guard case .object(var members) = json else { return self }
    var mine = members["skerry"]?.object ?? [:]
    if let repository = binding.repository { mine["repository"] = .string(repository) }
    if let device = binding.device { mine["device"] = .string(device) }
    members["skerry"] = .object(mine)
    return TUFSigned(json: .object(members))
  }
}

extension TUFSigned {
  /// The same with one more member in `skerry` of the signed part.
  public func with(_ name: String, _ value: JSONValue) -> TUFSigned {
    guard case .object(var members) = json else { return self }
    var mine = members["skerry"]?.object ?? [:]
    mine[name] = value
    members["skerry"] = .object(mine)
    return TUFSigned(json: .object(members))
  }
}

extension TrustedMetadata {
  /// Whether a threshold of this root's root keys signed another repository's root. Throws `TUFError.signature`.
  public func demandAnchor(of other: TUFRoot) throws(TUFError) {
    _ = try other.document.demandSigners(root.roleKeys(.root), keys: root.keys)
  }
}
