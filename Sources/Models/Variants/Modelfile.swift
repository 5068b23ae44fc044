public import Trust

/// Ollama's Modelfile, in the part that a variant can follow: FROM, PARAMETER, SYSTEM, MESSAGE.
/// https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx
public struct Modelfile: Sendable, Hashable {
  public var from: String
  public var system: String?
  public var parameters: [String: JSONValue]
  public var messages: [ModelVariant.Message]

  public init(
    from: String, system: String? = nil, parameters: [String: JSONValue] = [:], messages: [ModelVariant.Message] = []
  ) {
    self.from = from
    self.system = system
    self.parameters = parameters
    self.messages = messages
  }

  /// Throws `ModelfileError`, which names the line. An instruction that would change the signed model is refused.
  public init(parsing text: String) throws(ModelfileError) {
    var scanner = ModelfileScanner(text)
    var from: String?
    self.init(from: "")
    while let (line, instruction) = scanner.instruction() {
      switch instruction {
      case "FROM":
        guard from == nil else { throw ModelfileError(line: line, reason: "FROM stands twice") }
        from = try scanner.value()
      case "SYSTEM": system = try scanner.value()
      case "PARAMETER":
        let name = scanner.word().lowercased()
        try add(name, try scanner.value(), line: line)
      case "MESSAGE":
        let role = scanner.word().lowercased()
        messages.append(ModelVariant.Message(role: role, content: try scanner.value()))
      default: throw ModelfileError(line: line, reason: Modelfile.refusal(of: instruction))
      }
    }
    guard let from, !from.isEmpty else { throw ModelfileError(line: 1, reason: "there is no FROM with a model's name") }
    self.from = from
  }

  private mutating func add(_ name: String, _ text: String, line: Int) throws(ModelfileError) {
    guard let option = GenerationOption.named(name) else {
      throw ModelfileError(line: line, reason: VariantError.parameter(name).description)
    }
    guard let value = option.value(from: text) else {
      throw ModelfileError(line: line, reason: VariantError.value(name, allowed: option.allowed).description)
    }
    guard option.kind == .texts else {
      parameters[name] = value
      return
    }
    // Each line adds one.
    parameters[name] = .array((parameters[name]?.array ?? []) + [value])
  }

  /// Why an instruction is not followed.
  public static func refusal(of instruction: String) -> String {
    switch instruction {
    case "TEMPLATE": "TEMPLATE is refused: the chat template belongs to the signed model"
    case "ADAPTER": "ADAPTER is refused: adapters come signed from the fleet"
    case "LICENSE": "LICENSE is refused: a variant has the licence of the model that it is made from"
    default: "unknown instruction \(instruction.prefix(40)); allowed: FROM, PARAMETER, SYSTEM, MESSAGE"
    }
  }
}

extension Modelfile: CustomStringConvertible {
  /// The file's text, which `init(parsing:)` reads back.
  public var description: String {
    var lines = ["FROM \(from)"]
    for (name, value) in parameters.sorted(by: { $0.key < $1.key }) {
      lines += Modelfile.texts(value).map { "PARAMETER \(name) \($0)" }
    }
    if let system { lines.append("SYSTEM \(Modelfile.quoted(system))") }
    lines += messages.map { "MESSAGE \($0.role) \(Modelfile.quoted($0.content))" }
    return lines.joined(separator: "\n") + "\n"
  }

  /// The parameters alone, in columns, as Ollama's “show” gives them.
  public static func parameterText(_ parameters: [String: JSONValue]) -> String {
    parameters.sorted { $0.key < $1.key }.flatMap { name, value in
      texts(value).map { name + String(repeating: " ", count: max(1, 31 - name.utf8.count)) + $0 }
    }.joined(separator: "\n")
  }

  private static func texts(_ value: JSONValue) -> [String] {
    switch value {
    case .array(let values): values.flatMap(texts)
    case .string(let text): [quoted(text)]
    default: [String(decoding: value.encoded(), as: UTF8.self)]
    }
  }

  private static func quoted(_ text: String) -> String {
    let isPlain = !text.utf8.contains { $0 == 0x22 || $0 == 0x0A || $0 == 0x0D }
    return isPlain ? "\"\(text)\"" : "\"\"\"\(text)\"\"\""
  }
}

/// What is wrong in a Modelfile.
public struct ModelfileError: Error, Sendable, Hashable, CustomStringConvertible {
  public let line: Int
  public let reason: String
  public var description: String { "Modelfile, line \(line): \(reason)" }
}

/// Cuts a Modelfile into instructions and their values.
private struct ModelfileScanner {
  private let bytes: [UInt8]
  private var at = 0
  private var line = 1

  init(_ text: String) { bytes = Array(text.utf8) }

  private static let quote = UInt8(ascii: "\"")
  private var isAtEnd: Bool { at >= bytes.count }
  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }

  private mutating func step() {
    if bytes[at] == 0x0A { line += 1 }
    at += 1
  }

  private mutating func skipSpaces() {
    while !isAtEnd, ModelfileScanner.isSpace(bytes[at]) { at += 1 }
  }

  /// The next instruction's line and its word in capitals; nil at the end.
  mutating func instruction() -> (line: Int, word: String)? {
    while !isAtEnd {
      if bytes[at] == UInt8(ascii: "#") {
        while !isAtEnd, bytes[at] != 0x0A { at += 1 }
      } else if bytes[at] == 0x0A || ModelfileScanner.isSpace(bytes[at]) {
        step()
      } else {
        let start = line
        return (start, word().uppercased())
      }
    }
    return nil
  }

  /// A word, and the spaces around it.
  mutating func word() -> String {
    skipSpaces()
    let start = at
    while !isAtEnd, bytes[at] != 0x0A, !ModelfileScanner.isSpace(bytes[at]) { at += 1 }
    let word = String(decoding: bytes[start..<at], as: UTF8.self)
    skipSpaces()
    return word
  }

  /// The rest of the line, or what stands in quotes: one at each end, or three, over as many lines as there are.
  mutating func value() throws(ModelfileError) -> String {
    skipSpaces()
    let start = line
    let marks = bytes[at...].prefix(3).elementsEqual([34, 34, 34]) ? 3 : !isAtEnd && bytes[at] == 34 ? 1 : 0
    guard marks > 0 else {
      let from = at
      while !isAtEnd, bytes[at] != 0x0A { at += 1 }
      var end = at
      while end > from, ModelfileScanner.isSpace(bytes[end - 1]) { end -= 1 }
      guard end > from else { throw ModelfileError(line: start, reason: "a value is missing") }
      return String(decoding: bytes[from..<end], as: UTF8.self)
    }
    at += marks
    let from = at
    while !isAtEnd {
      if let after = closing(marks) {
        let text = String(decoding: bytes[from..<at], as: UTF8.self)
        at = after
        return text
      }
      step()
    }
    throw ModelfileError(line: start, reason: "a quoted value has no end")
  }

  /// Where the closing marks end, if they begin here: nothing but spaces follows them on the line.
  private func closing(_ marks: Int) -> Int? {
    guard bytes[at...].prefix(marks).allSatisfy({ $0 == ModelfileScanner.quote }), bytes.count - at >= marks else {
      return nil
    }
    var after = at + marks
    while after < bytes.count, ModelfileScanner.isSpace(bytes[after]) { after += 1 }
    return after == bytes.count || bytes[after] == 0x0A ? after : nil
  }
}
