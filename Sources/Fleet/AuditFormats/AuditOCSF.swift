import Trust

/// Records as events of the Open Cybersecurity Schema Framework 1.8.0: decisions and inferences are API activity (6003), start
/// and stop application lifecycle (6002), changes of roles, tokens, policies and variants entity management (3004); the rest
/// are base events. `raw_data` is the record itself.
enum AuditOCSF {
  static let version = "1.8.0"

  static func event(_ record: AuditFormatRecord, version product: String) -> JSONValue {
    let keys = record.keys
    var event: [String: JSONValue] = [
      "time": .integer(record.milliseconds), "raw_data": .string(record.text),
      "raw_data_hash": [
        "algorithm": "SHA-256", "algorithm_id": 3, "value": .string(Digest(of: record.bytes).hex),
      ],
      "metadata": [
        "version": .string(version), "log_name": .string(record.origin),
        "sequence": .integer(Int64(clamping: record.index)),
        "uid": .string("\(record.origin)#\(record.index)"), "event_code": .string(keys.kind),
        "product": ["name": "Skerry", "vendor_name": "Skerry", "version": .string(product)],
      ],
      "unmapped": ["leaf": .string(Base64.encode(Merkle.leafHash(record.bytes).bytes))],
    ]
    let result = record.result
    event["severity_id"] = result == .attack ? 4 : result == .failure ? 3 : 1
    event["status_id"] = result == .success ? 1 : 2
    event["status"] = keys.outcome.map { .string($0) }
    event["status_detail"] = (record.string("rule") ?? record.string("reason")).map { .string($0) }
    let (kind, activity) = shape(record, &event)
    event["category_uid"] = .integer(kind / 1000)
    event["class_uid"] = .integer(kind)
    event["activity_id"] = .integer(activity)
    event["type_uid"] = .integer(kind * 100 + activity)
    return .object(event)
  }

  /// Adds what the event's class asks for; gives the class and the activity.
  private static func shape(_ record: AuditFormatRecord, _ event: inout [String: JSONValue]) -> (Int64, Int64) {
    let keys = record.keys
    let actor: JSONValue = ["user": ["name": .string(keys.subject), "uid": .string(keys.shortSubject)]]
    let what = record.string("event") ?? ""
    switch keys.kind {
    case "decision", "inference":
      event["actor"] = actor
      event["api"] = [
        "operation": .string(record.string("verb") ?? "infer"),
        "service": ["name": .string(record.string("api") ?? "skerryd")],
      ]
      event["src_endpoint"] = ["uid": .string(record.box), "name": "local"]
      if let resource = record.string("resource") ?? record.string("model") {
        event["resources"] = [["name": .string(resource)]]
      }
      if let took = record.value["milliseconds"]?.integer { event["duration"] = .integer(took) }
      return (6003, 99)
    case "start", "stop":
      event["app"] = ["name": "skerryd", "vendor_name": "Skerry"]
      return (6002, keys.kind == "start" ? 3 : 4)
    case "role", "token", "policy", "binding", "variant":
      event["actor"] = actor
      event["entity"] = [
        "name": .string(record.string("name") ?? record.string("role") ?? keys.kind), "type": .string(keys.kind),
      ]
      let activity: Int64 =
        switch what {
        case "create", "created", "grant", "granted": 1
        case "replace", "replaced", "change", "changed", "applied": 3
        case "delete", "deleted", "revoke", "revoked": 4
        default: 99
        }
      return (3004, activity)
    default:
      event["message"] = .string([keys.kind, what].filter { !$0.isEmpty }.joined(separator: " "))
      return (0, 99)
    }
  }
}
