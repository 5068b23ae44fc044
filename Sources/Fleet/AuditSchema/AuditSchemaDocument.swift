import Trust

extension AuditSchema {
  /// The schema as JSON Schema 2020-12: a line of the log, or the `record` of an export's line, is valid against it.
  public static var document: JSONValue {
    [
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "$id": .string("urn:skerry:audit-record:\(version)"),
      "title": "A record of Skerry's audit log",
      "description":
        "Canonical JSON on one line. A member named in cut was shortened, or left out because it was not as it must be.",
      "oneOf": .array(AuditKind.allCases.map { ["$ref": .string("#/$defs/\($0.rawValue)")] }),
      "$defs": .object(
        Dictionary(uniqueKeysWithValues: AuditKind.allCases.map { ($0.rawValue, definition($0)) })),
    ]
  }

  private static func definition(_ kind: AuditKind) -> JSONValue {
    var properties: [String: JSONValue] = [:]
    for member in common + kind.members { properties[member.name] = member.type.schema }
    properties["v"] = ["const": .integer(version)]
    properties["kind"] = ["const": .string(kind.rawValue)]
    properties["n"] = ["type": "integer", "minimum": 0]
    func names(_ members: [AuditMember]) -> JSONValue {
      .array(members.filter(\.isRequired).map { .string($0.name) })
    }
    return [
      "description": .string(kind.summary), "type": "object", "properties": .object(properties),
      "required": names(common), "additionalProperties": false,
      "anyOf": [["required": names(kind.members)], ["required": ["cut"]]],
    ]
  }

  /// The same as a table for people, in Markdown. Members in bold are in every record of the kind.
  public static var table: String {
    let rows = AuditKind.allCases.map { kind in
      let members = kind.members.map { member in
        let name = member.isRequired ? "**`\(member.name)`**" : "`\(member.name)`"
        return name + member.type.words
      }
      return "| `\(kind.rawValue)` | \(kind.summary) | \(members.isEmpty ? "–" : members.joined(separator: ", ")) |"
    }
    return (["| kind | says | members |", "|---|---|---|"] + rows).joined(separator: "\n")
  }
}

extension AuditType {
  /// Characters that are not for showing; `AuditText.isShown` knows some more.
  private static let shown =
    #"^[^\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$"#

  private static func text(_ longest: Int) -> JSONValue {
    ["type": "string", "maxLength": .integer(Int64(longest)), "pattern": .string(shown)]
  }

  var schema: JSONValue {
    switch self {
    case .word(let words): ["enum": .array(words.map { .string($0) })]
    case .name: AuditType.text(AuditSchema.longestName)
    case .text(let longest): AuditType.text(longest)
    case .digest: ["type": "string", "pattern": "^[0-9a-f]{64}$"]
    case .keyed: ["type": "string", "pattern": .string("^\(AuditType.keyedPrefix)[0-9a-f]{64}$")]
    case .integer: ["type": "integer"]
    case .flag: ["type": "boolean"]
    case .texts(let most, let longest):
      ["type": "array", "maxItems": .integer(Int64(most)), "items": AuditType.text(longest)]
    case .integers(let most): ["type": "array", "maxItems": .integer(Int64(most)), "items": ["type": "integer"]]
    case .counts(let most):
      ["type": "object", "maxProperties": .integer(Int64(most)), "additionalProperties": ["type": "integer"]]
    }
  }

  /// In a table, behind the name.
  var words: String {
    switch self {
    case .word(let words): " (\(words.map { "`\($0)`" }.joined(separator: " ")))"
    case .name: ""
    case .text(let longest): " ≤ \(longest)"
    case .digest: " SHA-256"
    case .keyed: " HMAC"
    case .integer: " int"
    case .flag: " bool"
    case .texts(let most, let longest): " ≤ \(most) × \(longest)"
    case .integers(let most): " ≤ \(most) ints"
    case .counts(let most): " ≤ \(most) counts"
    }
  }
}
