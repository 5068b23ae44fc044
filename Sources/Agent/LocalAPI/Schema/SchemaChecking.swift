import Trust

/// Where a value is not what its schema says, and what it must be.
struct SchemaFault: Sendable, Hashable, CustomStringConvertible {
  /// As in `messages[0].role`; empty for the whole value.
  let path: String
  let problem: String

  var description: String { "\"\(path)\" \(problem)" }
}

extension Schema {
  /// The first thing that is wrong with the value; nil when nothing is.
  func fault(in value: JSONValue, at path: String = "") -> SchemaFault? {
    if let refusal, value != .null { return SchemaFault(path: path, problem: "is refused: \(refusal)") }
    switch form {
    case .anything: return nil
    case .null: return wrong(path, unless: value == .null)
    case .boolean: return wrong(path, unless: value.bool != nil)
    case .off: return wrong(path, unless: value == false)
    case .integer(let range): return wrong(path, unless: value.integer.map(range.contains) ?? false)
    case .number(let range): return wrong(path, unless: value.number.map(range.contains) ?? false)
    case .text(let length):
      // Counting is not free: a prompt may have megabytes.
      guard let text = value.string else { return wrong(path, unless: false) }
      if length.upperBound == Int.max { return wrong(path, unless: length.lowerBound == 0 || !text.isEmpty) }
      return wrong(path, unless: length.contains(text.unicodeScalars.count))
    case .word(let words): return wrong(path, unless: value.string.map(words.contains) ?? false)
    case .list(let element, let count): return fault(inList: value, of: element, count, path)
    case .record(let members, let isOpen): return fault(inRecord: value, members, isOpen: isOpen, path)
    case .map(let element):
      guard let members = value.object else { return wrong(path, unless: false) }
      return members.sorted { $0.key < $1.key }.lazy.compactMap { element.fault(in: $1, at: path + "." + $0) }.first
    case .either(let schemas): return fault(inOneOf: schemas, value, path)
    case .named(_, let schema): return schema.fault(in: value, at: path)
    }
  }

  private func wrong(_ path: String, unless isRight: Bool) -> SchemaFault? {
    isRight ? nil : SchemaFault(path: path, problem: "must be \(self)")
  }

  private func fault(
    inList value: JSONValue, of element: Schema, _ count: ClosedRange<Int>, _ path: String
  ) -> SchemaFault? {
    guard let elements = value.array, count.contains(elements.count) else { return wrong(path, unless: false) }
    for (at, value) in elements.enumerated() {
      if let fault = element.fault(in: value, at: "\(path)[\(at)]") { return fault }
    }
    return nil
  }

  private func fault(
    inRecord value: JSONValue, _ members: [Member], isOpen: Bool, _ path: String
  ) -> SchemaFault? {
    guard let given = value.object else { return wrong(path, unless: false) }
    let prefix = path.isEmpty ? "" : path + "."
    for member in members {
      if let value = given[member.name] {
        if let fault = member.schema.fault(in: value, at: prefix + member.name) { return fault }
      } else if member.isRequired {
        return SchemaFault(path: prefix + member.name, problem: "is missing; it must be \(member.schema)")
      }
    }
    guard !isOpen else { return nil }
    let known = members.map(\.name)
    guard let unknown = given.keys.sorted().first(where: { !known.contains($0) }) else { return nil }
    return SchemaFault(path: prefix + unknown, problem: "is unknown; known: \(known.joined(separator: ", "))")
  }

  /// Of several forms the complaint is about the one that was meant, as far as that can be told.
  private func fault(inOneOf schemas: [Schema], _ value: JSONValue, _ path: String) -> SchemaFault? {
    if schemas.contains(where: { $0.fault(in: value, at: path) == nil }) { return nil }
    var meant = schemas.filter { $0.resembles(value) }
    if meant.count > 1 {
      for key in ["type", "role"] {
        let named = meant.filter { $0.member(key)?.fault(in: value[key] ?? .null) == nil }
        if named.isEmpty, meant.contains(where: { $0.member(key) != nil }) {
          let allowed = meant.flatMap { $0.member(key)?.allWords ?? [] }.map { "\"\($0)\"" }.joined(separator: ", ")
          let member = path.isEmpty ? key : "\(path).\(key)"
          return SchemaFault(path: member, problem: "must be one of \(allowed)")
        }
        if named.count < meant.count { meant = named }
      }
    }
    guard meant.count == 1, words == nil || meant[0].isRecordOrList, let deeper = meant[0].fault(in: value, at: path)
    else { return wrong(path, unless: false) }
    return deeper.path == path ? wrong(path, unless: false) : deeper
  }

  private var isRecordOrList: Bool {
    switch form {
    case .record, .list, .map: true
    case .named(_, let schema): schema.isRecordOrList
    case .either(let schemas): schemas.contains(where: \.isRecordOrList)
    default: false
    }
  }

  /// Whether the value is of this schema's type, whatever is in it.
  private func resembles(_ value: JSONValue) -> Bool {
    switch (form, value) {
    case (.anything, _), (.null, .null), (.boolean, .bool), (.off, .bool), (.integer, .integer), (.number, .integer),
      (.number, .double), (.text, .string), (.word, .string), (.list, .array), (.record, .object), (.map, .object):
      true
    case (.either(let schemas), _): schemas.contains { $0.resembles(value) }
    case (.named(_, let schema), _): schema.resembles(value)
    default: false
    }
  }

  private func member(_ name: String) -> Schema? {
    switch form {
    case .record(let members, _): members.first { $0.name == name }?.schema
    case .named(_, let schema): schema.member(name)
    default: nil
    }
  }

  private var allWords: [String] {
    switch form {
    case .word(let words): words
    case .either(let schemas): schemas.flatMap(\.allWords)
    default: []
    }
  }
}
