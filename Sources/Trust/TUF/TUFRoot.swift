/// What a root metadata file says.
public struct TUFRoot: Sendable {
  public let document: TUFDocument
  public let consistentSnapshot: Bool
  public let keys: [String: TUFKey]
  public let roles: [TUFRole: TUFRoleKeys]

  public init(parsing bytes: [UInt8]) throws(TUFError) { try self.init(TUFDocument(parsing: bytes, as: .root)) }

  public init(_ document: TUFDocument) throws(TUFError) {
    func malformed(_ reason: String) -> TUFError { .malformed(role: "root", reason: reason) }
    let signed = document.signed
    guard let listed = signed["keys"]?.object else { throw malformed("no \"keys\"") }
    var keys: [String: TUFKey] = [:]
    for (keyID, value) in listed { keys[keyID] = TUFRoot.key(keyID, value) }
    guard let roles = signed["roles"]?.object else { throw malformed("no \"roles\"") }
    var parsed: [TUFRole: TUFRoleKeys] = [:]
    for role in TUFRole.allCases {
      guard let value = roles[role.rawValue] else { throw malformed("no role \"\(role.rawValue)\"") }
      guard let roleKeys = TUFRoot.roleKeys(value) else {
        throw malformed("role \"\(role.rawValue)\" has no list of key ids or no threshold above 0")
      }
      parsed[role] = roleKeys
    }
    // "CONSISTENT_SNAPSHOT: An OPTIONAL boolean"; the reference implementation takes its absence for false.
    if let flag = signed["consistent_snapshot"], flag.bool == nil {
      throw malformed("\"consistent_snapshot\" is no boolean")
    }
    consistentSnapshot = signed["consistent_snapshot"]?.bool ?? false
    self.keys = keys
    self.roles = parsed
    self.document = document
  }

  /// The keys and threshold of a role.
  public func roleKeys(_ role: TUFRole) -> TUFRoleKeys {
    // `init` took no root without all four; an impossible threshold keeps a mistake here from trusting anything.
    roles[role] ?? TUFRoleKeys(keyIDs: [], threshold: .max)
  }

  static func key(_ keyID: String, _ value: JSONValue) -> TUFKey {
    TUFKey(
      keyID: keyID, keyType: value["keytype"]?.string ?? "", scheme: value["scheme"]?.string ?? "",
      publicKey: value["keyval"]?["public"]?.string ?? "")
  }

  static func roleKeys(_ value: JSONValue) -> TUFRoleKeys? {
    guard let list = value["keyids"]?.array, let threshold = value["threshold"]?.integer, threshold > 0,
      let count = Int(exactly: threshold)
    else { return nil }
    let keyIDs = list.compactMap(\.string)
    return keyIDs.count == list.count ? TUFRoleKeys(keyIDs: keyIDs, threshold: count) : nil
  }
}
