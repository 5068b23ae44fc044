import CommandLine
import Host
import Trust

let statusNoun = Noun(
  CommandSpec(
    "status", "show the box: hub, models, engines, audit log, what waits",
    examples: [Example("skerry status --json", "the same for a program")])
) { invocation in
  let status = try await invocation.status()
  invocation.answer(status) { statusText(status, now: Clock.unixTime()) }
}

func statusText(_ status: JSONValue, now: Int64) -> String {
  let sync = status["sync"] ?? .null
  let audit = status["audit"] ?? .null
  var rows: [(String, String?)] = []
  rows.append(("box", "\(status.text("name")) (device \(status.text("deviceID")))"))
  rows.append(("agent", "\(status.text("version")), up \(Readable.seconds(status["uptimeSeconds"]?.integer ?? 0))"))
  rows.append(("hub", hubText(status)))
  rows.append(("sync", syncText(sync, now: now)))
  rows.append(("transfer", sync["transfer"].flatMap(transferText)))
  rows.append(("", sync["lastError"]?.string.map { "last error: \($0)" }))
  rows.append(
    ("models", listText(status.list("models")) { "\($0.text("name")) \($0.text("version")): \($0.text("state"))" }))
  rows.append(("engines", listText(status.list("engines")) { engineText($0) }))
  rows.append(("your limits", accountText(status["account"] ?? .null)))
  rows.append(
    (
      "policy",
      status["policy"].flatMap { policy in
        policy == .null
          ? nil
          : "\(policy["name"]?.string ?? "unknown"), serial \(policy["serial"]?.integer ?? 0), \(fleetPolicyState(policy))"
      }
    ))
  rows.append(("metadata", freshnessText(status["freshness"] ?? .null, now: now)))
  rows.append(("clock", clockText(status["clock"] ?? .null)))
  rows.append(("sandbox", sandboxText(status["sandbox"] ?? .null)))
  rows.append(("programs", programsText(status["enginePrograms"]?.array ?? [])))
  let cosigned = audit["cosignedSize"]?.integer
  rows.append(
    ("audit", "\(audit.text("size")) entries, \(cosigned.map { "the first \($0) cosigned" } ?? "none cosigned yet")"))
  rows.append(("", auditTroubleText(audit["trouble"])))
  let waiting = status["outbox"]?["pending"]?.integer ?? status["outbox"]?.integer ?? 0
  rows.append(("outbox", waiting == 0 ? "empty" : "\(waiting) waiting for the hub"))
  return facts(rows)
}

private func hubText(_ status: JSONValue) -> String {
  guard status["enrolled"]?.bool == true else { return "none: this box is not enrolled (skerry enroll TOKEN)" }
  let reachable = status["sync"]?["reachable"]?.bool
  return "\(status.text("hub"))" + (reachable.map { $0 ? ", reachable" : ", out of reach" } ?? "")
}

private func syncText(_ sync: JSONValue, now: Int64) -> String {
  var parts = [sync.text("state")].filter { !$0.isEmpty }
  parts.append(sync["lastSuccess"]?.integer.map { "last \(timestampAndAge($0, now: now))" } ?? "never yet")
  if let next = sync["nextAttempt"]?.integer { parts.append("next \(timestampAndAge(next, now: now))") }
  return parts.joined(separator: ", ")
}

private func freshnessText(_ freshness: JSONValue, now: Int64) -> String? {
  let end = freshness["refusesAt"]?.integer.map(timestamp)
  guard let since = freshness["since"]?.integer else { return nil }
  let what = "expired \(timestamp(since)): " + freshness.strings("expired").joined(separator: ", ")
  if freshness.text("state") == "refused" {
    return what + "\nmodels no longer answer since \(end ?? "then"), as the signed policy says: skerry sync"
  }
  return what + "\ninstalled models go on" + (end.map { " until \($0)" } ?? "")
    + ", nothing new is installed: skerry sync"
}

private func clockText(_ clock: JSONValue) -> String? {
  guard let wall = clock["wall"]?.integer, let floor = clock["floor"]?.integer else { return nil }
  var lines: [String] = []
  switch clock.text("doubt") {
  case "behind":
    lines.append("NOT BELIEVED: it shows \(timestamp(wall)), and it is no earlier than \(timestamp(floor))")
  case "ahead":
    lines.append("NOT BELIEVED: it shows \(timestamp(wall)), absurdly long after \(timestamp(floor))")
  default: break
  }
  if !lines.isEmpty, let time = clock["time"]?.integer {
    lines.append("the box reckons with \(timestamp(time)): set the clock")
  }
  if let ahead = clock["aheadOfHub"]?.integer, ahead > 86_400, lines.isEmpty {
    lines.append("\(ahead / 86_400) days ahead of the hub's: set the clock")
  }
  let refused = clock.text("refused")
  if !refused.isEmpty { lines.append("a signed time was not believed: \(refused)") }
  return lines.isEmpty ? "believed" : lines.joined(separator: "\n")
}

/// What has travelled this month, and what holds models back; nothing where nothing is limited.
func transferText(_ transfer: JSONValue) -> String? {
  func bytes(_ key: String) -> UInt64? { transfer[key]?.integer.map { UInt64(max(0, $0)) } }
  var parts = [bytes("usedBytes").map { "\(Readable.bytes($0)) in \(transfer.text("month"))" }].compactMap { $0 }
  if let budget = bytes("monthlyBytes") { parts.append("of \(Readable.bytes(budget))") }
  if let rate = bytes("bandwidth") { parts.append("at most \(Readable.bytes(rate)) a second") }
  if let waits = transfer["waits"]?.string { parts.append(waits) }
  return parts.isEmpty ? nil : parts.joined(separator: ", ")
}

private func engineText(_ engine: JSONValue) -> String {
  let loaded = engine["loadedSeconds"]?.number.map { ", for \(Readable.seconds(Int64($0)))" } ?? ""
  let pid = engine["pid"]?.integer.map { ", process \($0)" } ?? ""
  let memory =
    engine["plan"]?["memory"]?["most"]?.integer.map { ", at most \(Readable.bytes(UInt64(max(0, $0))))" } ?? ""
  var text = "\(engine.text("model")): \(engine.text("state"))\(pid)\(pid.isEmpty ? "" : loaded)\(memory)"
  let waiting = engine["waiting"]?.integer ?? 0
  if waiting > 0 { text += ", \(waiting) waiting of \(engine.text("waitingCallers")) callers" }
  let failures = engine["failures"]?.integer ?? 0
  if failures > 0 { text += ", failed \(failures) times in a row: \(engine.text("lastWords"))" }
  if let file = engine["lastWordsFile"]?.string { text += "\n  what it wrote before it ended: \(file)" }
  return text
}

/// What the limits leave whoever asks; nothing where nothing is limited and nothing waits.
func accountText(_ account: JSONValue) -> String? {
  var parts: [String] = []
  for what in ["requests", "tokens"] {
    guard let left = account[what], left.object != nil else { continue }
    parts.append("\(left.text("remaining")) of \(left.text("perMinute")) \(what) a minute left")
  }
  let waiting = account.list("waiting")
  if let first = waiting.first {
    parts.append("\(waiting.count) waiting, the first in place \(first.text("position"))")
  }
  return parts.isEmpty ? nil : parts.joined(separator: ", ")
}

/// Which engine programs are there; how to get llama.cpp's, without which few models answer.
private func programsText(_ programs: [JSONValue]) -> String? {
  let there = programs.filter { $0["installed"]?.bool == true }.map { $0.text("name") }
  let missing = programs.filter { $0["installed"]?.bool == false }
  let notes = missing.map { program in
    program.text("name") == "llama.cpp"
      ? "llama.cpp is missing: \(program.text("remedy"))" : "no \(program.text("name"))"
  }
  return programs.isEmpty ? nil : (there + notes).joined(separator: ", ")
}

private func sandboxText(_ sandbox: JSONValue) -> String? {
  guard sandbox.object != nil else { return sandbox.string }
  let reason = sandbox.text("reason")
  let held = (sandbox["inForce"]?.object ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.string ?? "")" }
  let more = reason.isEmpty ? held.joined(separator: ", ") : reason
  return "\(sandbox.text("mode")): \(sandbox.text("state"))" + (more.isEmpty ? "" : " (\(more))")
}

private func listText(_ values: [JSONValue], _ line: (JSONValue) -> String) -> String {
  values.isEmpty ? "none" : values.map(line).joined(separator: "\n")
}
