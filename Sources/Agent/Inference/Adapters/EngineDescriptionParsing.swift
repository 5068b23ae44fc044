import Glibc
import Trust

extension EngineDescription {
  /// What the configuration says, over what is ready-made under this name.
  init(_ name: String, _ field: JSONField) throws(JSONFieldError) {
    self = EngineDescription.readyMade[name] ?? EngineDescription()
    let members = try field.members([
      "program", "arguments", "environment", "readiness", "form", "requestName", "embeddings", "visible", "stop",
      "remedy",
    ])
    if let field = members["program"] { program = try AgentConfiguration.path(field) }
    if let field = members["arguments"] { arguments = try EngineDescription.templates(field) }
    if let field = members["environment"] {
      for (key, field) in try field.object() { environment[key] = try EngineDescription.template(field) }
    }
    if let field = members["readiness"] { readiness = try AgentConfiguration.path(field, longest: 200) }
    if let field = members["form"] { form = field.isNull ? nil : try AgentConfiguration.boxName(field) }
    if let field = members["requestName"] { requestName = field.isNull ? nil : try field.string() }
    if let field = members["embeddings"] { embeddings = try field.bool() }
    if let field = members["visible"] {
      visible = []
      for element in try field.array(of: "paths") { visible.append(try AgentConfiguration.path(element)) }
    }
    if let field = members["stop"] { stop = try EngineDescription.schedule(field) }
    if let field = members["remedy"] { remedy = try field.string() }
    guard !program.isEmpty, !arguments.isEmpty else {
      throw field.wrong("it has no program or no arguments", allowed: "both, for an engine that is not ready-made")
    }
    guard arguments.contains(where: { $0.contains("{model}") }) else {
      throw field.wrong("its arguments have no {model}", allowed: "a {model}, and {port} or {socket}")
    }
    guard listensOnSocket || arguments.contains(where: { $0.contains("{port}") }) else {
      throw field.wrong("its arguments have neither {port} nor {socket}", allowed: "one of them")
    }
  }

  private static func templates(_ field: JSONField) throws(JSONFieldError) -> [String] {
    var list: [String] = []
    for element in try field.array(of: "strings") { list.append(try template(element)) }
    return list
  }

  /// Refuses a placeholder that nothing would fill in.
  private static func template(_ field: JSONField) throws(JSONFieldError) -> String {
    let text = try field.string()
    for piece in text.split(separator: "{", omittingEmptySubsequences: false).dropFirst() {
      guard let close = piece.firstIndex(of: "}") else { continue }
      let word = piece[..<close]
      guard word.isEmpty || placeholders.contains(String(word)) || word.contains(where: { !$0.isLetter }) else {
        throw field.wrong(
          "{\(word)} is no placeholder", allowed: placeholders.sorted().map { "{\($0)}" }.joined(separator: ", "))
      }
    }
    return text
  }

  private static func schedule(_ field: JSONField) throws(JSONFieldError) -> [Stop] {
    let signals = ["TERM": SIGTERM, "INT": SIGINT, "QUIT": SIGQUIT, "HUP": SIGHUP]
    var list: [Stop] = []
    for element in try field.array(of: "objects {signal, seconds}") {
      let members = try element.members(["signal", "seconds"])
      guard let name = members["signal"], let seconds = members["seconds"] else {
        throw element.wrong("a part is missing", allowed: "{signal: \"TERM\", seconds: 5}")
      }
      guard let signal = signals[try name.string()] else {
        throw name.wrong("it is none that may be sent", allowed: signals.keys.sorted().joined(separator: ", "))
      }
      list.append(Stop(signal: signal, seconds: try seconds.integer(0...120)))
    }
    return list
  }
}

extension EngineDescription {
  /// As the configuration has it.
  var effective: JSONValue {
    let signals = [SIGTERM: "TERM", SIGINT: "INT", SIGQUIT: "QUIT", SIGHUP: "HUP"]
    return [
      "program": .string(program), "arguments": .array(arguments.map(JSONValue.string)),
      "environment": .object(environment.mapValues(JSONValue.string)), "readiness": .string(readiness),
      "form": form.map(JSONValue.string) ?? .null, "requestName": requestName.map(JSONValue.string) ?? .null,
      "embeddings": .bool(embeddings), "visible": .array(visible.map(JSONValue.string)), "remedy": .string(remedy),
      "stop": .array(
        stop.map { ["signal": .string(signals[$0.signal] ?? "TERM"), "seconds": .integer(Int64($0.seconds))] }),
    ]
  }
}

extension AgentConfiguration {
  /// Every engine that is described, ready-made ones included.
  static func engines(_ field: JSONField) throws(JSONFieldError) -> [String: EngineDescription] {
    var found: [String: EngineDescription] = [:]
    for (name, field) in try field.object() {
      guard name != LlamaServerAdapter.name else {
        throw field.wrong("llama.cpp needs no description", allowed: "its settings under engine")
      }
      found[name] = try EngineDescription(name, field)
    }
    return found
  }
}
