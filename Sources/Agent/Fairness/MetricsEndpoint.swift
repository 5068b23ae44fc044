import Fleet
import Host

extension LocalAPI {
  /// Everything that `/metrics` tells, in Prometheus' text format.
  func metrics() async throws -> String {
    var text = MetricsText()
    counters.write(to: &text)
    text.begin("skerry_queue_waiting", .gauge, "Requests that wait for their turn at an engine.")
    let models = await registry.installed()
    let names = Dictionary(models.map { ($0.manifest.sha256, $0.name.description) }) { one, _ in one }
    for lane in desk.gate.lanes() {
      text.add(
        [("model", names[lane.key.sha256] ?? "other"), ("engine", lane.key.kind.rawValue)], Double(lane.waiting))
    }
    let engines = await inference.statuses()
    text.begin("skerry_engine_up", .gauge, "Whether an engine is ready.")
    for engine in engines {
      text.add(MetricsText.labels(engine), engine.state == "ready" ? 1 : 0)
    }
    text.begin("skerry_engine_requests", .gauge, "Requests that an engine answers now.")
    for engine in engines { text.add(MetricsText.labels(engine), Double(engine.users)) }
    text.begin("skerry_engine_resident_bytes", .gauge, "Memory that an engine's process holds.")
    for engine in engines {
      guard let pid = engine.pid, let bytes = Memory.residentOfTree(pid) else { continue }
      text.add(MetricsText.labels(engine), Double(bytes))
    }
    text.gauge("skerry_engines", "Engines that are ready.", Double(engines.filter { $0.state == "ready" }.count))
    text.gauge("skerry_models", "Models that the box holds.", Double(models.filter { $0.state == .active }.count))
    text.begin("skerry_audit_entries", .gauge, "Records in the audit log.")
    text.add(Double(log.head().size))
    text.begin("skerry_audit_bytes", .gauge, "Size of the audit log.")
    text.add(Double(log.bytes))
    text.gauge(
      "skerry_audit_writable", "Whether records can be written; while they can't, requests are refused.",
      log.trouble == nil ? 1 : 0)
    text.gauge(
      "skerry_audit_cosigned_entries", "Records that the hub has cosigned.", Double(log.cosigned()?.size ?? 0))
    let syncing = try await sync.status()
    text.gauge("skerry_sync_enrolled", "Whether the box belongs to a fleet.", syncing.enrolled ? 1 : 0)
    text.gauge("skerry_outbox_items", "What waits to be sent to the hub.", Double(syncing.outbox))
    if let last = syncing.lastSuccess {
      text.gauge("skerry_sync_last_success_seconds", "Unix time of the last sync.", Double(last))
    }
    text.gauge("skerry_resident_bytes", "Memory that the agent's process holds.", Double(Memory.residentOfSelf))
    text.begin("skerry_build_info", .gauge, "The version that runs.")
    text.add([("version", agentVersion)], 1)
    return text.text
  }
}

extension MetricsText {
  fileprivate static func labels(_ engine: EngineStatus) -> [(String, String)] {
    [("model", engine.model.name), ("version", engine.model.version), ("engine", engine.kind.rawValue)]
  }
}
