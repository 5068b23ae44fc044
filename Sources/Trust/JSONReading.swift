/// One member of a document that people write, with its key path, so that each complaint names the key and says
/// what is allowed there.
public struct JSONField: Sendable {
  /// As in `roles.chat.allow[0].verbs`; empty for the whole document.
  public let path: String
  public let value: JSONValue

  public init(_ value: JSONValue, path: String = "") {
    self.value = value
    self.path = path
  }
}

/// What is wrong at a key, and what may stand there.
public struct JSONFieldError: Error, Hashable, CustomStringConvertible {
  public let path: String
  public let problem: String
  public let allowed: String

  public init(path: String, problem: String, allowed: String) {
    self.path = path
    self.problem = problem
    self.allowed = allowed
  }

  public var description: String { "\(path.isEmpty ? "the document" : path): \(problem); allowed: \(allowed)" }
}

extension JSONField {
  /// The error that this member's value is wrong.
  public func wrong(_ problem: String, allowed: String) -> JSONFieldError {
    JSONFieldError(path: path, problem: problem, allowed: allowed)
  }

  /// The members of an object, refusing keys that are not among `known`.
  public func members(_ known: [String]) throws(JSONFieldError) -> [String: JSONField] {
    let all = try object()
    for (key, field) in all.sorted(by: { $0.key < $1.key }) where !known.contains(key) {
      throw field.wrong("unknown key", allowed: known.joined(separator: ", "))
    }
    return all
  }

  /// The members of an object whose keys are names.
  public func object() throws(JSONFieldError) -> [String: JSONField] {
    guard case .object(let members) = value else { throw wrongType("an object") }
    return Dictionary(
      uniqueKeysWithValues: members.map { ($0, JSONField($1, path: path.isEmpty ? $0 : "\(path).\($0)")) })
  }

  /// The elements of an array.
  public func array(of what: String) throws(JSONFieldError) -> [JSONField] {
    guard case .array(let elements) = value else { throw wrongType("an array of \(what)") }
    return elements.enumerated().map { JSONField($1, path: "\(path)[\($0)]") }
  }

  public func string(_ what: String = "a string") throws(JSONFieldError) -> String {
    guard case .string(let text) = value else { throw wrongType(what) }
    return text
  }

  public func bool() throws(JSONFieldError) -> Bool {
    guard case .bool(let flag) = value else { throw wrongType("true or false") }
    return flag
  }

  public func integer(_ range: ClosedRange<Int>) throws(JSONFieldError) -> Int {
    let allowed = "a whole number from \(range.lowerBound) to \(range.upperBound)"
    guard case .integer(let number) = value else { throw wrongType(allowed) }
    guard let exact = Int(exactly: number), range.contains(exact) else {
      throw wrong("\(number) is out of range", allowed: allowed)
    }
    return exact
  }

  /// One of a few words.
  public func choice<Choice: RawRepresentable & CaseIterable>(
    _ type: Choice.Type = Choice.self
  ) throws(JSONFieldError) -> Choice where Choice.RawValue == String {
    let allowed = Choice.allCases.map(\.rawValue).joined(separator: ", ")
    let text = try string("one of \(allowed)")
    guard let choice = Choice(rawValue: text) else { throw wrong("unknown value \"\(text)\"", allowed: allowed) }
    return choice
  }

  public var isNull: Bool { value == .null }

  private func wrongType(_ allowed: String) -> JSONFieldError {
    let found =
      switch value {
      case .null: "null"
      case .bool: "true or false"
      case .integer, .double: "a number"
      case .string: "a string"
      case .array: "an array"
      case .object: "an object"
      }
    return wrong("wrong type, found \(found)", allowed: allowed)
  }
}
