/// Why a token is not taken. What it says of itself is never quoted: it may say anything.
public enum JWTError: Error, Sendable, Hashable, CustomStringConvertible {
  case malformed(String)
  /// An algorithm that is not taken, or that the key is not for.
  case badAlgorithm
  /// It names no key, or another than there are.
  case unknownKey
  case badSignature
  /// The header asks for an extension that must be understood (`crit`), or for another type of token.
  case notForUs(String)
  case wrongIssuer
  case wrongAudience
  case expired
  case notYet
  /// It was made longer ago than is accepted, whatever it says of its end.
  case tooOld
  case badClaim(String)
  case badKeys(String)

  public var description: String {
    switch self {
    case .malformed(let why): "the token is malformed: \(why)"
    case .badAlgorithm:
      "the token is signed by an algorithm that is not taken, or that its key is not for; taken are "
        + JWTAlgorithm.allCases.map(\.rawValue).joined(separator: ", ")
    case .unknownKey: "the token names no key, or none that this box was given for its issuer"
    case .badSignature: "the token's signature is wrong"
    case .notForUs(let why): "the token is not for this use: \(why)"
    case .wrongIssuer: "the token has another issuer"
    case .wrongAudience: "the token was made for somebody else"
    case .expired: "the token has expired"
    case .notYet: "the token is not valid yet, by this box's time"
    case .tooOld: "the token was made longer ago than this box accepts"
    case .badClaim(let name): "the token's claim \(name) is missing or not what it must be"
    case .badKeys(let why): "these are no keys: \(why)"
    }
  }
}

/// A signed token in the compact form (RFC 7515 §7.1), read and not yet believed.
public struct JSONWebToken: Sendable {
  /// No header has room for longer ones.
  public static let limit = 16 << 10

  public let algorithm: JWTAlgorithm
  /// `typ` in small letters, without `application/`.
  public let type: String?
  let keyID: String?
  private let claims: [String: JSONValue]
  private let signed: [UInt8]
  private let signature: [UInt8]

  /// What it says of its issuer, to choose the keys by. Nothing else may be done with it.
  public var claimedIssuer: String? { claims["iss"]?.string }

  /// Throws `JWTError` for what is no such token, for another algorithm, and for a header that wants something understood.
  public init(parsing text: String) throws(JWTError) {
    guard text.utf8.count <= JSONWebToken.limit else { throw .malformed("longer than \(JSONWebToken.limit) bytes") }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3 else { throw .malformed("it has not three parts") }
    guard let head = Base64.decodeExactURL(parts[0]), let body = Base64.decodeExactURL(parts[1]),
      let signature = Base64.decodeExactURL(parts[2])
    else { throw .malformed("a part is no base64url") }
    let header = try JSONWebToken.object(head)
    claims = try JSONWebToken.object(body)
    guard let algorithm = header["alg"]?.string.flatMap(JWTAlgorithm.init(rawValue:)) else { throw .badAlgorithm }
    // RFC 7515 §4.1.11: what is critical must be understood, and nothing is here. Whatever points to keys elsewhere (jku,
    // jwk, x5u, x5c) is never looked at.
    if header["crit"] != nil { throw .notForUs("its header has crit") }
    if header["b64"] != nil || header["cty"] != nil || header["zip"] != nil || header["enc"] != nil {
      throw .notForUs("its content is not plain claims")
    }
    guard header["kid"] == nil || header["kid"]?.string != nil else { throw .malformed("kid is no text") }
    guard header["typ"] == nil || header["typ"]?.string != nil else { throw .malformed("typ is no text") }
    self.algorithm = algorithm
    keyID = header["kid"]?.string
    let type = header["typ"]?.string?.lowercased()
    self.type = type.map { $0.hasPrefix("application/") ? String($0.dropFirst(12)) : $0 }
    signed = Array("\(parts[0]).\(parts[1])".utf8)
    self.signature = signature
  }

  private static func object(_ bytes: [UInt8]) throws(JWTError) -> [String: JSONValue] {
    do { if let object = try JSONValue(parsing: bytes).object { return object } } catch {
      throw .malformed("a part is no JSON, or has a key twice")
    }
    throw .malformed("a part is no JSON object")
  }

  /// The claims, once the signature is one of these keys'. Throws `JWTError`.
  public func claims(signedBy keys: JSONWebKeySet) throws(JWTError) -> [String: JSONValue] {
    let key = try keys.key(keyID, algorithm)
    guard key.isValid(signature, for: signed, by: algorithm) else { throw .badSignature }
    return claims
  }

  /// A token signed with Ed25519 (RFC 8037 §3.1).
  public static func sign(
    _ claims: [String: JSONValue], type: String, keyID: String, by key: SigningKey
  ) -> String {
    let header: JSONValue = ["alg": "EdDSA", "kid": .string(keyID), "typ": .string(type)]
    let input = Base64.encodeURL(header.encoded()) + "." + Base64.encodeURL(JSONValue.object(claims).encoded())
    return input + "." + Base64.encodeURL(key.sign(Array(input.utf8)))
  }
}

/// What a token must say to be taken (RFC 7519 §4.1; OpenID Connect Core 1.0 §3.1.3.7; RFC 8725).
public struct JWTExpectation: Sendable, Hashable {
  public var issuer: String
  public var audience: String
  /// The values of `typ` that are taken, in small letters; nil among them: none given.
  public var types: Set<String?>
  public var keys: JSONWebKeySet
  /// How old a token may be at most, in seconds, whatever it says of its end.
  public var maxAge: Int64
  /// By how many seconds clocks may differ.
  public var leeway: Int64

  public init(
    issuer: String, audience: String, types: Set<String?>, keys: JSONWebKeySet, maxAge: Int64, leeway: Int64
  ) {
    self.issuer = issuer
    self.audience = audience
    self.types = types
    self.keys = keys
    self.maxAge = maxAge
    self.leeway = leeway
  }

  /// The claims of a token that is good at this time (Unix seconds). Throws `JWTError`.
  public func check(_ token: JSONWebToken, at now: Int64) throws(JWTError) -> [String: JSONValue] {
    guard types.contains(token.type) else { throw .notForUs("its typ is another") }
    let claims = try token.claims(signedBy: keys)
    guard claims["iss"]?.string == issuer else { throw .wrongIssuer }
    try checkAudience(claims)
    let expires = try JWTExpectation.time(claims, "exp")
    let issued = try JWTExpectation.time(claims, "iat")
    guard now < expires + leeway else { throw .expired }
    guard issued <= now + leeway else { throw .notYet }
    if claims["nbf"] != nil, try JWTExpectation.time(claims, "nbf") > now + leeway { throw .notYet }
    guard now - issued <= maxAge + leeway else { throw .tooOld }
    return claims
  }

  private func checkAudience(_ claims: [String: JSONValue]) throws(JWTError) {
    switch claims["aud"] {
    case .string(let one)?: guard one == audience else { throw .wrongAudience }
    case .array(let many)?:
      guard many.count <= 64, many.allSatisfy({ $0.string != nil }), many.contains(.string(audience)) else {
        throw .wrongAudience
      }
      // §3.1.3.7, 4: of several audiences one is the party that it was made for.
      guard many.count == 1 || claims["azp"] != nil else { throw .wrongAudience }
    default: throw .wrongAudience
    }
    if let party = claims["azp"], party != .string(audience) { throw .wrongAudience }
  }

  /// A NumericDate (RFC 7519 §2), its fraction left off.
  private static func time(_ claims: [String: JSONValue], _ name: String) throws(JWTError) -> Int64 {
    let latest: Int64 = 1 << 40
    switch claims[name] {
    case .integer(let seconds)? where (0...latest).contains(seconds): return seconds
    case .double(let seconds)? where seconds >= 0 && seconds <= Double(latest): return Int64(seconds)
    default: throw .badClaim(name)
    }
  }
}
