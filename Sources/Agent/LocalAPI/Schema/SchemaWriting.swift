import Trust

/// Writes schemas as JSON Schema 2020-12, the dialect of OpenAPI 3.1. Named ones become references to components, which
/// it collects.
struct SchemaWriter {
  private(set) var components: [String: JSONValue] = [:]

  mutating func write(_ schema: Schema) -> JSONValue {
    var members = form(schema.form)
    if let summary = schema.summary { members["description"] = .string(summary) }
    return .object(members)
  }

  private mutating func form(_ form: Schema.Form) -> [String: JSONValue] {
    switch form {
    case .anything: return [:]
    case .null: return ["type": "null"]
    case .boolean: return ["type": "boolean"]
    case .off: return ["const": false]
    case .integer(let range):
      return ["type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound)]
    case .number(let range):
      guard range.upperBound < .greatestFiniteMagnitude else { return ["type": "number"] }
      return ["type": "number", "minimum": .double(range.lowerBound), "maximum": .double(range.upperBound)]
    case .text(let length): return ["type": "string"].merging(bounds(length, "Length")) { $1 }
    case .word(let words): return ["type": "string", "enum": .array(words.map(JSONValue.string))]
    case .list(let element, let count):
      return ["type": "array", "items": write(element)].merging(bounds(count, "Items")) { $1 }
    case .record(let members, let isOpen): return record(members, isOpen: isOpen)
    case .map(let element): return ["type": "object", "additionalProperties": write(element)]
    case .either(let schemas): return ["anyOf": .array(schemas.map { write($0) })]
    case .named(let name, let schema):
      if components[name] == nil {
        components[name] = .null
        components[name] = write(schema)
      }
      return ["$ref": .string("#/components/schemas/\(name)")]
    }
  }

  private func bounds(_ range: ClosedRange<Int>, _ what: String) -> [String: JSONValue] {
    var members: [String: JSONValue] = [:]
    if range.lowerBound > 0 { members["min\(what)"] = .integer(Int64(range.lowerBound)) }
    if range.upperBound < Int.max { members["max\(what)"] = .integer(Int64(range.upperBound)) }
    return members
  }

  private mutating func record(_ members: [Schema.Member], isOpen: Bool) -> [String: JSONValue] {
    var properties: [String: JSONValue] = [:]
    for member in members { properties[member.name] = write(member.schema) }
    var written: [String: JSONValue] = ["type": "object"]
    if !properties.isEmpty { written["properties"] = .object(properties) }
    let required = members.filter(\.isRequired).map { JSONValue.string($0.name) }
    if !required.isEmpty { written["required"] = .array(required) }
    if !isOpen { written["additionalProperties"] = false }
    return written
  }
}
