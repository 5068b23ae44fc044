import Trust

/// Records as OpenTelemetry log records in OTLP's JSON encoding (opentelemetry-proto 1.x). The body is the record itself.
public enum AuditOTLP {
  /// `ExportLogsServiceRequest`: what is posted to a collector's `/v1/logs`.
  public static func request(_ records: [AuditFormatRecord], version: String) -> JSONValue {
    let resource: JSONValue = [
      "attributes": .array([
        attribute("service.name", "skerryd"), attribute("service.version", version),
        attribute("service.instance.id", records.first?.box ?? ""),
      ])
    ]
    let scope: JSONValue = [
      "scope": ["name": "skerry.audit", "version": "1"], "logRecords": .array(records.map(logRecord)),
    ]
    return ["resourceLogs": [["resource": resource, "scopeLogs": [scope]]]]
  }

  private static func logRecord(_ record: AuditFormatRecord) -> JSONValue {
    let keys = record.keys
    let isBad = record.result != .success
    var attributes = [
      attribute("log.record.uid", "\(record.origin)#\(record.index)"), attribute("user.id", keys.shortSubject),
      attribute("skerry.audit.origin", record.origin), number("skerry.audit.index", Int64(clamping: record.index)),
    ]
    if let model = keys.model { attributes.append(attribute("gen_ai.request.model", model)) }
    if let outcome = keys.outcome { attributes.append(attribute("skerry.audit.outcome", outcome)) }
    for (name, member) in [
      ("gen_ai.usage.input_tokens", "promptTokens"), ("gen_ai.usage.output_tokens", "completionTokens"),
    ] {
      if let count = record.value[member]?.integer { attributes.append(number(name, count)) }
    }
    let nanoseconds: JSONValue = .string("\(record.milliseconds)000000")
    return [
      "timeUnixNano": nanoseconds, "observedTimeUnixNano": nanoseconds, "eventName": .string("skerry.\(keys.kind)"),
      "severityNumber": .integer(isBad ? 13 : 9), "severityText": isBad ? "WARN" : "INFO",
      "body": ["stringValue": .string(record.text)], "attributes": .array(attributes),
    ]
  }

  private static func attribute(_ name: String, _ value: String) -> JSONValue {
    ["key": .string(name), "value": ["stringValue": .string(value)]]
  }

  /// In protobuf's JSON a 64-bit number is text.
  private static func number(_ name: String, _ value: Int64) -> JSONValue {
    ["key": .string(name), "value": ["intValue": .string("\(value)")]]
  }

  static func records(in request: JSONValue) -> [[UInt8]]? {
    guard let resources = request["resourceLogs"]?.array else { return nil }
    let logs = resources.flatMap { $0["scopeLogs"]?.array ?? [] }.flatMap { $0["logRecords"]?.array ?? [] }
    let bodies = logs.compactMap { $0["body"]?["stringValue"]?.string }
    return bodies.count == logs.count ? bodies.map { Array($0.utf8) } : nil
  }
}
