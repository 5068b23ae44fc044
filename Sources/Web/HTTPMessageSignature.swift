public import Trust

/// Why a message's signature is not taken.
public enum SignatureError: Error, Sendable, Equatable, CustomStringConvertible {
  case missing(String)
  case malformed(String)
  case uncovered(String)
  case digestMismatch
  case invalid

  public var description: String {
    switch self {
    case .missing(let field): "the request has no \(field)"
    case .malformed(let what): "the request's signature is malformed: \(what)"
    case .uncovered(let component): "the signature does not cover \(component)"
    case .digestMismatch: "the body does not match its Content-Digest"
    case .invalid: "the signature does not hold"
    }
  }
}

/// HTTP message signatures (RFC 9421) with Ed25519 over method, authority, path, query, Content-Digest (RFC 9530) and
/// Skerry-Sequence. The signature's label is `sig1`.
public enum HTTPMessageSignature {
  public static let sequenceField = "Skerry-Sequence"
  public static let covered = ["@method", "@authority", "@path", "@query", "content-digest", "skerry-sequence"]

  /// What a signature says about itself.
  public struct Parameters: Sendable, Equatable {
    public let keyID: String
    /// Unix seconds by the signer's clock.
    public let created: Int64?
    public let components: [String]
  }

  /// RFC 9530 §2: `sha-256=:BASE64:`
  public static func contentDigest(_ body: [UInt8]) -> String { "sha-256=:\(Base64.encode(Digest(of: body).bytes)):" }

  /// Adds Content-Digest, Skerry-Sequence, Signature-Input and Signature.
  public static func sign(
    method: String, url: String, headers: inout HTTPHeaders, body: [UInt8], keyID: String, key: SigningKey,
    created: Int64, nonce: String? = nil, sequence: UInt64
  ) {
    headers.set("Content-Digest", contentDigest(body))
    headers.set(sequenceField, String(sequence))
    let components = covered.map { "\"\($0)\"" }.joined(separator: " ")
    var parameters = "(\(components));created=\(created);keyid=\"\(keyID)\";alg=\"ed25519\""
    if let nonce { parameters += ";nonce=\"\(nonce)\"" }
    let parts = URLParts(url)
    let base = base(covered, parameters: parameters, method: method, parts: parts, headers: headers)
    headers.set("Signature-Input", "sig1=\(parameters)")
    headers.set("Signature", "sig1=:\(Base64.encode(key.sign(Array((base ?? "").utf8)))):")
  }

  /// The `keyid` that the message names, to look its key up; nothing about it is verified yet.
  public static func keyID(_ headers: HTTPHeaders) -> String? { try? parameters(headers).keyID }

  /// The sequence number that the message carries.
  public static func sequence(_ headers: HTTPHeaders) -> UInt64? { headers[sequenceField].flatMap { UInt64($0) } }

  /// Verifies body digest and signature; `required` components must be covered. `target` is path and query as sent,
  /// `authority` what the client named in Host. Throws `SignatureError`.
  @discardableResult
  public static func verify(
    method: String, authority: String, target: String, headers: HTTPHeaders, body: [UInt8], key: VerifyingKey,
    required: [String] = covered
  ) throws(SignatureError) -> Parameters {
    let said = try parameters(headers)
    for component in required where !said.components.contains(component) { throw .uncovered(component) }
    if said.components.contains("content-digest") {
      guard let given = headers["Content-Digest"] else { throw .missing("Content-Digest") }
      let wanted = contentDigest(body)
      guard given.split(separator: ",").contains(where: { $0.drop { $0 == " " } == wanted }) else {
        throw .digestMismatch
      }
    }
    guard let label = headers["Signature"] else { throw .missing("Signature") }
    guard let start = label.firstOccurrence(of: "sig1=:"),
      let signature = Base64.decode(label[start...].dropFirst(6).prefix { $0 != ":" })
    else {
      throw .malformed("no sig1 in Signature")
    }
    let parts = URLParts(authority: authority, target: target)
    let raw = try rawParameters(headers)
    guard let base = base(said.components, parameters: raw, method: method, parts: parts, headers: headers) else {
      throw .malformed("a covered component is not in the request")
    }
    guard key.isValid(signature, for: Array(base.utf8)) else { throw .invalid }
    return said
  }

  private static func rawParameters(_ headers: HTTPHeaders) throws(SignatureError) -> String {
    guard let input = headers["Signature-Input"] else { throw .missing("Signature-Input") }
    guard input.hasPrefix("sig1=") else { throw .malformed("no sig1 in Signature-Input") }
    return String(input.dropFirst(5))
  }

  private static func parameters(_ headers: HTTPHeaders) throws(SignatureError) -> Parameters {
    let raw = try rawParameters(headers)
    guard raw.first == "(", let close = raw.firstIndex(of: ")") else { throw .malformed("no component list") }
    let components = raw[raw.index(after: raw.startIndex)..<close].split(separator: " ").map {
      $0.filter { $0 != "\"" }
    }
    var keyID: String?
    var created: Int64?
    for pair in raw[raw.index(after: close)...].split(separator: ";") {
      let sides = pair.split(separator: "=", maxSplits: 1)
      guard sides.count == 2 else { throw .malformed("a parameter without a value") }
      switch sides[0] {
      case "keyid": keyID = String(sides[1].filter { $0 != "\"" })
      case "created": created = Int64(sides[1])
      case "alg" where sides[1] != "\"ed25519\"": throw .malformed("the algorithm is not ed25519")
      default: break
      }
    }
    guard let keyID else { throw .malformed("no keyid") }
    guard Set(components).count == components.count else { throw .malformed("a component stands twice") }
    return Parameters(keyID: keyID, created: created, components: components)
  }

  /// RFC 9421 §2.5.
  static func base(
    _ components: [String], parameters: String, method: String, parts: URLParts, headers: HTTPHeaders
  ) -> String? {
    var lines: [String] = []
    for component in components {
      let value: String
      switch component {
      case "@method": value = method
      case "@authority": value = parts.authority
      case "@path": value = parts.path
      case "@query": value = "?" + parts.query
      default:
        guard !component.hasPrefix("@") else { return nil }
        let values = headers.values(component)
        guard !values.isEmpty else { return nil }
        value = values.map(trimmed).joined(separator: ", ")
      }
      lines.append("\"\(component)\": \(value)")
    }
    return lines.joined(separator: "\n") + "\n\"@signature-params\": \(parameters)"
  }

  private static func trimmed(_ text: String) -> String {
    var rest = text[...]
    while rest.first == " " || rest.first == "\t" { rest = rest.dropFirst() }
    while rest.last == " " || rest.last == "\t" { rest = rest.dropLast() }
    return String(rest)
  }
}

/// The derived components of a target (RFC 9421 §2.2).
struct URLParts: Equatable {
  let authority: String
  let path: String
  let query: String

  init(_ url: String) {
    let scheme = url.lowercased().hasPrefix("https://") ? "https" : "http"
    var rest = url[...]
    if let end = url.firstOccurrence(of: "://") { rest = url[end...].dropFirst(3) }
    let slash = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    self.init(authority: String(rest[..<slash]), target: String(rest[slash...]), scheme: scheme)
  }

  /// The authority is lower-cased and loses its scheme's default port (§2.2.3).
  init(authority: String, target: String, scheme: String = "https") {
    var named = authority.lowercased()
    let usual = scheme == "https" ? ":443" : ":80"
    if named.hasSuffix(usual) { named.removeLast(usual.count) }
    self.authority = named
    let sides = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    path = sides.first.map { $0.isEmpty ? "/" : String($0) } ?? "/"
    query = sides.count > 1 ? String(sides[1]) : ""
  }
}

extension String {
  /// The start of the first occurrence.
  func firstOccurrence(of other: String) -> Index? {
    guard !other.isEmpty else { return startIndex }
    var at = startIndex
    while at < endIndex {
      if self[at...].hasPrefix(other) { return at }
      at = index(after: at)
    }
    return nil
  }
}
