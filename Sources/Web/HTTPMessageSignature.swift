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
    public let nonce: String?
    public let components: [String]
  }

  /// RFC 9530 §2: `sha-256=:BASE64:`
  public static func contentDigest(_ body: [UInt8]) -> String { "sha-256=:\(Base64.encode(Digest(of: body).bytes)):" }

  /// Adds Content-Digest, Skerry-Sequence, Signature-Input and Signature. `keyID` and `nonce` are plain ASCII.
  public static func sign(
    method: String, url: String, headers: inout HTTPHeaders, body: [UInt8], keyID: String, key: SigningKey,
    created: Int64, nonce: String? = nil, sequence: UInt64
  ) {
    headers.set("Content-Digest", contentDigest(body))
    headers.set(sequenceField, String(sequence))
    let components = covered.map { quoted($0) }.joined(separator: " ")
    var parameters = "(\(components));created=\(created);keyid=\(quoted(keyID));alg=\"ed25519\""
    if let nonce { parameters += ";nonce=\(quoted(nonce))" }
    guard let base = base(covered, parameters: parameters, method: method, parts: URLParts(url), headers: headers)
    else {
      preconditionFailure("every covered component was set above")
    }
    headers.set("Signature-Input", "sig1=\(parameters)")
    headers.set("Signature", "sig1=:\(Base64.encode(key.sign(Array(base.utf8)))):")
  }

  /// The `keyid` that the message names, to look its key up; nothing about it is verified yet.
  public static func keyID(_ headers: HTTPHeaders) -> String? { try? parameters(headers, "sig1").said.keyID }

  /// The sequence number that the message carries.
  public static func sequence(_ headers: HTTPHeaders) -> UInt64? { headers[sequenceField].flatMap { UInt64($0) } }

  /// Verifies body digest and signature; `required` components must be covered. `target` is path and query as sent,
  /// `authority` what the client named in Host. Throws `SignatureError`.
  @discardableResult
  public static func verify(
    method: String, authority: String, target: String, headers: HTTPHeaders, body: [UInt8], key: VerifyingKey,
    required: [String] = covered, label: String = "sig1"
  ) throws(SignatureError) -> Parameters {
    let (said, raw) = try parameters(headers, label)
    for component in required where !said.components.contains(component) { throw .uncovered(component) }
    if said.components.contains("content-digest") {
      guard let field = combined(headers, "Content-Digest") else { throw .missing("Content-Digest") }
      guard let digests = StructuredFields.byteSequences(field) else { throw .malformed("Content-Digest") }
      guard digests["sha-256"] == Digest(of: body).bytes else { throw .digestMismatch }
    }
    guard let field = combined(headers, "Signature") else { throw .missing("Signature") }
    guard let signature = StructuredFields.byteSequences(field)?[label] else {
      throw .malformed("no \(label) in Signature")
    }
    let parts = URLParts(authority: authority, target: target)
    guard let base = base(said.components, parameters: raw, method: method, parts: parts, headers: headers) else {
      throw .malformed("a covered component is not in the request")
    }
    guard key.isValid(signature, for: Array(base.utf8)) else { throw .invalid }
    return said
  }

  private static func parameters(
    _ headers: HTTPHeaders, _ label: String
  ) throws(SignatureError) -> (said: Parameters, text: String) {
    guard let field = combined(headers, "Signature-Input") else { throw .missing("Signature-Input") }
    guard let lists = StructuredFields.innerLists(field) else { throw .malformed("Signature-Input") }
    guard let list = lists[label] else { throw .malformed("no \(label) in Signature-Input") }
    guard Set(list.components).count == list.components.count else { throw .malformed("a component stands twice") }
    if let algorithm = list.parameters["alg"], algorithm != .string("ed25519") {
      throw .malformed("the algorithm is not ed25519")
    }
    guard case .string(let keyID) = list.parameters["keyid"] else { throw .malformed("no keyid") }
    var created: Int64?
    if let value = list.parameters["created"] {
      guard case .integer(let seconds) = value else { throw .malformed("created is not a number") }
      created = seconds
    }
    var nonce: String?
    if case .string(let text) = list.parameters["nonce"] { nonce = text }
    return (Parameters(keyID: keyID, created: created, nonce: nonce, components: list.components), list.text)
  }

  /// The signature base, RFC 9421 §2.5. Nil for a component that the message lacks or that we don't know.
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
        guard !component.hasPrefix("@"), component == component.lowercased(), let field = combined(headers, component)
        else { return nil }
        value = field
      }
      lines.append("\(quoted(component)): \(value)")
    }
    return lines.joined(separator: "\n") + "\n\"@signature-params\": \(parameters)"
  }

  /// RFC 9421 §2.1: the trimmed values of all fields of this name, in order.
  private static func combined(_ headers: HTTPHeaders, _ name: String) -> String? {
    let values = headers.values(name)
    return values.isEmpty ? nil : values.map(trimmed).joined(separator: ", ")
  }

  private static func quoted(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
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
