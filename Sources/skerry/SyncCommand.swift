import CommandLine
import Trust

let syncNoun = Noun(
  CommandSpec(
    "sync", "sync with the hub now",
    discussion: """
      Shows each model's download as it goes. With --json the answer is one JSON value a line: progress events, and \
      last the outcome. With --now models are fetched in quiet hours too, and over the month's budget.
      """,
    options: [OptionSpec("now", "wait for neither quiet hours nor the month's budget")])
) { invocation in
  let bar = ProgressBar(hidden: invocation.json)
  var outcome: JSONValue?
  // A sync that was under way already is watched too; what it brought is not in the outcome of the one that follows.
  var seen: [String] = []
  try await invocation.agent.events(
    "POST", "/skerry/v1/sync", query: invocation.command.flag("now") ? [("now", "1")] : []
  ) { event in
    if invocation.json { invocation.console.say(event.encoded() + [0x0A]) }
    switch event["event"]?.string {
    case "progress":
      showProgress(event, on: bar)
      if event["phase"]?.string == "activate", let model = event["model"]?.string, !seen.contains(model) {
        seen.append(model)
      }
    case "done": outcome = event["outcome"] ?? .object([:])
    case "error":
      bar.finish()
      throw syncFailure(event["error"] ?? .null)
    default: break
    }
  }
  bar.finish()
  guard let outcome else {
    throw CommandFailure("the agent broke off the sync", hint: "see its log: journalctl -u skerryd", status: .tryLater)
  }
  if !invocation.json { invocation.console.say(outcomeText(outcome, seen: seen)) }
  if let failure = partialFailure(outcome) { throw failure }
}

/// Only phases that move bytes have a bar.
func showProgress(_ event: JSONValue, on bar: ProgressBar) {
  guard let done = event["done"]?.integer, let total = event["total"]?.integer, total > 0, done >= 0,
    let phase = event["phase"]?.string, ["download", "verify"].contains(phase)
  else { return }
  let model = event.text("model")
  bar.update("\(phase)\(model.isEmpty ? "" : " \(model)")", done: UInt64(done), total: UInt64(total))
}

func syncFailure(_ error: JSONValue) -> CommandFailure {
  let status: ExitStatus =
    switch error.text("code") {
    case "hub_unavailable": .hubUnavailable
    case "not_enrolled": .configuration
    case "device_revoked", "unknown_device", "bad_signature": .denied
    case "hub_untrusted", "hub_garbage", "metadata_refused", "audit_log": .data
    default: .tryLater
    }
  return CommandFailure(error["message"]?.string ?? "the sync failed", hint: error["hint"]?.string, status: status)
}

func outcomeText(_ outcome: JSONValue, seen: [String] = []) -> String {
  let activated = outcome.strings("activated")
  let active = activated + seen.filter { !activated.contains($0) }
  let fetched = UInt64(max(0, outcome["fetchedBytes"]?.integer ?? 0))
  let sent = outcome["uploaded"]?.integer ?? 0
  let attacks = outcome.list("attacks").map { "\($0.text("attack")) (\($0.text("role")))" }
  return (outcome["changed"]?.bool == true || !active.isEmpty ? "synced\n" : "synced; nothing is new\n")
    + facts([
      ("  active now", names(active)), ("  removed", names(outcome.strings("removed"))),
      ("  waiting", outcome["waiting"]?.string),
      ("  fetched", fetched > 0 ? Readable.bytes(fetched) : nil),
      ("  sent", sent > 0 ? "\(sent) waiting item\(sent == 1 ? "" : "s")" : nil),
      ("  cosigned", outcome["cosignedSize"]?.integer.map { "the first \($0) audit entries" }),
      ("  refused", attacks.isEmpty ? nil : "\(attacks.joined(separator: ", ")); it is in the audit log"),
    ])
}

private func names(_ names: [String]) -> String? { names.isEmpty ? nil : names.joined(separator: ", ") }

/// What went wrong although the sync as a whole was done; nil when nothing did.
private func partialFailure(_ outcome: JSONValue) -> CommandFailure? {
  let failures = outcome.list("failures").map { failure in
    let model = failure.text("model")
    return (model.isEmpty ? "" : "\(model): ") + failure.text("message")
  }
  guard let first = failures.first else { return nil }
  let more = failures.count > 1 ? " (and \(failures.count - 1) more)" : ""
  return CommandFailure(first + more, hint: "what arrived is kept; skerry sync goes on from there", status: .tryLater)
}
