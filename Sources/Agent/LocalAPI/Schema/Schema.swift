/// The form of a JSON value. The API's document shows it and requests are checked against it: one and the same, so that
/// neither says what the other doesn't.
struct Schema: Sendable {
  indirect enum Form: Sendable {
    case anything
    case null
    case boolean
    /// false.
    case off
    case integer(ClosedRange<Int64>)
    case number(ClosedRange<Double>)
    /// Text of so many Unicode scalars.
    case text(ClosedRange<Int>)
    /// One of a few words.
    case word([String])
    case list(Schema, ClosedRange<Int>)
    /// An object. Where it is open, members that are not listed may stand there too.
    case record([Member], isOpen: Bool)
    /// An object whose keys are names.
    case map(Schema)
    case either([Schema])
    /// What a named component of the document stands for.
    case named(String, Schema)
  }

  /// A member of an object.
  struct Member: Sendable {
    let name: String
    let schema: Schema
    let isRequired: Bool
  }

  var form: Form
  /// For people, in the document.
  var summary: String?
  /// What complaints call it; nil: what its form says.
  var words: String?
  /// Why a value that is not null is refused: what Skerry knows and can't do.
  var refusal: String?

  init(_ form: Form) { self.form = form }
}

extension Schema {
  static let anything = Schema(.anything)
  static let null = Schema(.null)
  static let boolean = Schema(.boolean)
  static let string = Schema(.text(0...Int.max))
  static let integer = Schema(.integer(.min ... .max))
  static let number = Schema(.number(-Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude))
  static let count = Schema(.integer(0 ... .max))
  /// An object of which nothing is said.
  static let object = Schema(.record([], isOpen: true))

  static func integer(_ range: ClosedRange<Int64>) -> Schema { Schema(.integer(range)) }
  static func number(_ range: ClosedRange<Double>) -> Schema { Schema(.number(range)) }
  static func text(_ length: ClosedRange<Int>) -> Schema { Schema(.text(length)) }
  static func word(_ words: String...) -> Schema { Schema(.word(words)) }
  static func list(_ element: Schema, _ count: ClosedRange<Int> = 0...Int.max) -> Schema {
    Schema(.list(element, count))
  }
  static func map(_ value: Schema) -> Schema { Schema(.map(value)) }
  static func either(_ schemas: Schema...) -> Schema { Schema(.either(schemas)) }
  static func record(_ members: Member...) -> Schema { Schema(.record(members, isOpen: true)) }
  static func record(_ members: [Member]) -> Schema { Schema(.record(members, isOpen: true)) }
  /// An object with these members and no others.
  static func closed(_ members: Member...) -> Schema { Schema(.record(members, isOpen: false)) }
  static func named(_ name: String, _ schema: Schema) -> Schema { Schema(.named(name, schema)) }
  static func orNull(_ schema: Schema) -> Schema { .either(schema, .null) }

  /// A member that must be absent or null, because Skerry can't do what it asks for.
  static func refused(_ reason: String) -> Schema {
    var made = Schema.null
    made.refusal = reason
    made.summary = "Refused: \(reason)."
    return made
  }

  /// A switch that may only be off.
  static func never(_ reason: String) -> Schema {
    var made = Schema(.off)
    made.words = "false: \(reason)"
    made.summary = "Refused when true: \(reason)."
    return made
  }

  func about(_ summary: String) -> Schema {
    var made = self
    made.summary = summary
    return made
  }

  /// With what complaints call it, where the form alone would say too little.
  func called(_ words: String) -> Schema {
    var made = self
    made.words = words
    return made
  }
}

extension Schema.Member {
  static func must(_ name: String, _ schema: Schema) -> Schema.Member {
    Schema.Member(name: name, schema: schema, isRequired: true)
  }
  /// One that may be absent or null.
  static func may(_ name: String, _ schema: Schema) -> Schema.Member {
    if case .null = schema.form { return Schema.Member(name: name, schema: schema, isRequired: false) }
    var made = Schema.orNull(schema)
    made.summary = schema.summary
    made.words = schema.words ?? schema.description
    return Schema.Member(name: name, schema: made, isRequired: false)
  }
}

extension Schema: CustomStringConvertible {
  /// In words, as it stands after "must be".
  var description: String {
    if let words { return words }
    switch form {
    case .anything: return "anything"
    case .null: return "null"
    case .boolean: return "true or false"
    case .off: return "false"
    case .integer(let range):
      if range == .min ... .max { return "a whole number" }
      if range.upperBound == .max { return "a whole number of at least \(range.lowerBound)" }
      return "a whole number from \(range.lowerBound) to \(range.upperBound)"
    case .number(let range):
      let isBounded = range.upperBound < .greatestFiniteMagnitude
      return isBounded ? "a number from \(range.lowerBound) to \(range.upperBound)" : "a number"
    case .text(let length):
      if length.upperBound < Int.max { return "a string of \(length.lowerBound) to \(length.upperBound) characters" }
      return length.lowerBound > 0 ? "a string that is not empty" : "a string"
    case .word(let words):
      return (words.count > 1 ? "one of " : "") + words.map { "\"\($0)\"" }.joined(separator: ", ")
    case .list(let element, let count):
      let least =
        count.lowerBound == 0 ? "" : count.lowerBound == 1 ? "that is not empty, " : "of at least \(count.lowerBound), "
      return "an array \(least)each \(element)"
    case .record, .map: return "an object"
    case .either(let schemas):
      return schemas.filter { if case .null = $0.form { false } else { true } }.map(\.description)
        .joined(separator: " or ")
    case .named(_, let schema): return schema.description
    }
  }
}
