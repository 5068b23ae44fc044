import CommandLine
import Trust

// What the hub's answers look like to people.

func hubStatusText(_ status: JSONValue) -> String {
  let repository = (status["repository"]?.object ?? [:]).sorted { $0.key < $1.key }
  return facts([
    ("hub", status.text("url")), ("version", status.text("version")), ("pin", status["pin"]?.string),
    ("witness", status["witness"]?.string), ("online key", status["onlineKey"]?["keyval"]?["public"]?.string),
    ("devices", status.text("devices")),
    (
      "repository",
      repository.isEmpty ? nil : repository.map { "\($0.key) \($0.value.plain)" }.joined(separator: ", ")
    ),
  ])
}

func deviceTable(_ answer: JSONValue, now: Int64) -> String {
  let devices = answer.list("devices")
  guard !devices.isEmpty else { return "no devices yet; skerry hub token create makes a token that enrols one\n" }
  var table = Table(
    "device", "name", "last seen", "state", "models", "audit", "cosigned", right: ["audit", "cosigned"])
  for device in devices {
    let audit = device["audit"] ?? .null
    table.add(
      device.text("id"), device.text("name"),
      device["lastSeen"]?.integer.map { "\(Readable.seconds(max(0, now - $0))) ago" } ?? "never",
      deviceState(device), device.list("models").map(modelLine).joined(separator: ", "), audit.text("size"),
      audit.text("cosignedSize"))
  }
  return table.render()
}

func deviceText(_ device: JSONValue, now: Int64) -> String {
  let audit = device["audit"] ?? .null
  let findings = device.list("findings").map { "\($0.text("severity")): \($0.text("text"))" }
  return facts([
    ("device", device.text("id")), ("name", device.text("name")), ("state", deviceState(device)),
    ("agent", device["agentVersion"]?.string), ("enrolled", device["enrolled"]?.integer.map(timestamp)),
    ("last seen", device["lastSeen"]?.integer.map { timestampAndAge($0, now: now) }),
    ("assigned", device["assigned"]?.array.map { $0.map(\.plain).joined(separator: ", ") } ?? "every published model"),
    (
      "policy",
      device["policy"].flatMap { policy in
        policy == .null
          ? nil
          : "\(policy["name"]?.string ?? "unknown"), serial \(policy["serial"]?.integer ?? 0), \(policy.text("state"))"
      }
    ),
    (
      "models",
      device.list("models").map { modelLine($0) + ($0["signer"]?.string.map { ", signed by \($0)" } ?? "") }
        .joined(separator: "\n")
    ),
    ("audit", "\(audit.text("size")) entries, the first \(audit.text("cosignedSize")) cosigned"),
    (
      "report", device["report"]?["received"]?.integer.map { "received \(timestampAndAge($0, now: now))" } ?? "none yet"
    ),
    ("sandbox", device["sandbox"]?.string), ("waiting", device["outbox"]?.integer.map { "\($0) items" }),
    ("findings", findings.isEmpty ? "none" : findings.joined(separator: "\n")),
  ])
}

/// `revoked`, or the worst finding's severity, or `ok`.
private func deviceState(_ device: JSONValue) -> String {
  if device["revoked"]?.bool == true { return "revoked" }
  let severities = Set(device.list("findings").map { $0.text("severity") })
  return ["critical", "warning"].first { severities.contains($0) } ?? "ok"
}

private func modelLine(_ model: JSONValue) -> String {
  "\(model.text("name")) \(model.text("version")) \(model.text("state"))"
}
