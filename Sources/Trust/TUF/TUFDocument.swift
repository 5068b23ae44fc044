import FoundationEssentials

/// A metadata file taken apart, nothing about it verified yet. `bytes` is the file as it came.
public struct TUFDocument: Sendable {
  public let role: TUFRole
  public let version: Int64
  public let expires: Date
  /// The `signed` object: what the signatures are over, in canonical form.
  public let signed: JSONValue
  public let signatures: [(keyID: String, signature: [UInt8])]
  public let bytes: [UInt8]

  /// Reads a file that must be of this role.
  public init(parsing bytes: [UInt8], as role: TUFRole) throws(TUFError) {
    func malformed(_ reason: String) -> TUFError { .malformed(role: role.rawValue, reason: reason) }
    let json: JSONValue
    do { json = try JSONValue(parsing: bytes) } catch { throw malformed("\(error)") }
    guard let signed = json["signed"], signed.object != nil else { throw malformed("no \"signed\" object") }
    guard let listed = json["signatures"]?.array else { throw malformed("no \"signatures\" list") }
    var signatures: [(keyID: String, signature: [UInt8])] = []
    var named: Set<String> = []
    for entry in listed {
      guard let keyID = entry["keyid"]?.string, let hex = entry["sig"]?.string else {
        throw malformed("a signature lacks \"keyid\" or \"sig\"")
      }
      // "Clients MUST ensure that … each KEYID is represented only once": two of one id are an attempt at a threshold.
      guard named.insert(keyID).inserted else {
        throw malformed("two signatures name the key \(keyID.debugDescription)")
      }
      // A signature by a key of another kind may be spelled otherwise; it simply does not count.
      signatures.append((keyID, Hex.decode(hex) ?? []))
    }
    guard let type = signed["_type"]?.string else { throw malformed("no \"_type\"") }
    guard type == role.rawValue else { throw malformed("its \"_type\" is \(type.debugDescription)") }
    // "clients MUST verify that "spec_version" matches the expected version number. Adopters are free to determine
    // what is considered a match (e.g., the version number exactly, or perhaps only the major version number"
    guard let specification = signed["spec_version"]?.string else { throw malformed("no \"spec_version\"") }
    guard specification.split(separator: ".", omittingEmptySubsequences: false).first == "1" else {
      throw .unsupportedSpecification(role: role.rawValue, version: specification)
    }
    guard let version = signed["version"]?.integer, version > 0 else {
      throw malformed("its \"version\" is no integer above 0")
    }
    guard let expires = signed["expires"]?.string.flatMap({ TUFTime.parse($0) }) else {
      throw malformed("its \"expires\" is no date like 2030-01-31T00:00:00Z")
    }
    self.role = role
    self.version = version
    self.expires = expires
    self.signed = signed
    self.signatures = signatures
    self.bytes = bytes
  }

  /// The ids of the distinct keys of `roleKeys` whose signature is valid, in the order of the signatures.
  ///
  /// "each SIGNATURE which is counted towards the THRESHOLD MUST have a unique KEYID"; and a key that is listed under
  /// two ids counts once as well.
  public func validSigners(_ roleKeys: TUFRoleKeys, keys: [String: TUFKey]) throws(TUFError) -> [String] {
    let message: [UInt8]
    do { message = try signed.canonicalOLPC() } catch {
      throw .malformed(role: role.rawValue, reason: error.description)
    }
    var signers: [String] = []
    var counted: Set<SchemeKey> = []
    for (keyID, signature) in signatures where roleKeys.keyIDs.contains(keyID) {
      guard let key = keys[keyID]?.verifyingKey, !counted.contains(key), key.isValid(signature, for: message) else {
        continue
      }
      counted.insert(key)
      signers.append(keyID)
    }
    return signers
  }

  /// The signers, or an error when they are fewer than the threshold.
  func demandSigners(_ roleKeys: TUFRoleKeys, keys: [String: TUFKey]) throws(TUFError) -> [String] {
    let signers = try validSigners(roleKeys, keys: keys)
    guard signers.count >= roleKeys.threshold else {
      throw .signature(role: role.rawValue, valid: signers.count, threshold: roleKeys.threshold)
    }
    return signers
  }
}

extension TUFDocument: CustomStringConvertible {
  public var description: String { "\(role.rawValue) version \(version), expires \(TUFTime.format(expires))" }
}
