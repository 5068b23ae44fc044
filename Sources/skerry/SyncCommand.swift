import CommandLine
import Trust

let syncNoun = Noun(
  CommandSpec(
    "sync", "sync with the hub now",
    discussion: """
      Shows each model's download as it goes. With --json the answer is one JSON value a line: progress events, and \
      last the outcome.
      """)
) { invocation in
  let bar = ProgressBar(hidden: invocation.json)
  var outcome: JSONValue?
  try await invocation.agent.events("POST", "/skerry/v1/sync") { event in
    if invocation.json { invocation.console.say(event.encoded() + [0x0A]) }
    switch event["event"]?.string {
    case "progress": showProgress(event, on: bar)
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
  if !invocation.json { invocation.console.say(outcomeText(outcome)) }
}

/// Only phases that move bytes have a bar.
private func showProgress(_ event: JSONValue, on bar: ProgressBar) {
  guard let done = event["done"]?.integer, let total = event["total"]?.integer, total > 0, done >= 0,
    let phase = event["phase"]?.string, ["download", "verify"].contains(phase)
  else { return }
  let model = event.text("model")
  bar.update("\(phase)\(model.isEmpty ? "" : " \(model)")", done: UInt64(done), total: UInt64(total))
}

private func syncFailure(_ error: JSONValue) -> CommandFailure {
  let unreachable = ["unreachable", "hub_unavailable", "timeout"].contains(error.text("code"))
  return CommandFailure(
    error["message"]?.string ?? "the sync failed", hint: error["hint"]?.string,
    status: unreachable ? .hubUnavailable : .tryLater)
}

func outcomeText(_ outcome: JSONValue) -> String {
  guard let members = outcome.object else { return outcome.plain + "\n" }
  let rows = members.sorted { $0.key < $1.key }.filter { !$0.value.plain.isEmpty }
  return "synced\n" + facts(rows.map { ("  " + $0.key, $0.value.plain) })
}
