import CommandLine
import Host
import Trust

let rolePolicySpec = CommandSpec(
  "policy", "show the policy that the fleet signed for this box",
  discussion: """
    Shows its serial, until when it is good, the most that the box may add of its own, how many recorded decisions came out \
    otherwise when it was taken over, and what of the box's own roles and bindings does not count beside it.
    """,
  examples: [Example("skerry role policy --json", "the same for a program")])

let rolePolicy: Runner = { invocation in
  let answer = try await invocation.agent.json("GET", "/skerry/v1/policy")
  let now = Clock.unixTime()
  invocation.answer(answer) { rolePolicyText(answer, now: now) }
}

func rolePolicyText(_ answer: JSONValue, now: Int64) -> String {
  let refused = answer["refused"].flatMap { refused -> String? in
    guard refused != .null else { return nil }
    return "\(refused.text("name")) serial \(refused.text("serial")): \(refused.text("reason"))"
  }
  guard let policy = answer["policy"], policy != .null else {
    return facts([("policy", "the box's own alone: the fleet has signed none for it"), ("refused", refused)])
  }
  let ignored = policy.list("ignored").map { "\($0.text("path")): \($0.text("problem"))" }
  let ceiling = policy["ceiling"]?.array.map { $0.map(\.plain).joined(separator: ", ") }
  return facts([
    ("policy", "\(policy["name"]?.string ?? "unknown"), serial \(policy["serial"]?.integer ?? 0)"),
    ("state", fleetPolicyState(policy)), ("problem", policy["problem"]?.string),
    ("expires", policy["expires"]?.integer.map { timestampAndAge($0, now: now) }),
    ("after that", "\(policy.strings("staleRoles").joined(separator: ", ")) alone"),
    ("taken over", policy["adopted"]?.integer.map { timestampAndAge($0, now: now) }),
    (
      "trial",
      policy["replayed"]?.integer.map {
        "of \($0) recorded decisions \(policy["changed"]?.integer ?? 0) come out otherwise"
      }
    ),
    ("ceiling", ceiling ?? "the box may add nothing"),
    ("without effect", ignored.isEmpty ? "nothing" : ignored.joined(separator: "\n")), ("refused", refused),
  ])
}

/// In a few words.
func fleetPolicyState(_ policy: JSONValue) -> String {
  switch policy.text("state") {
  case "stale": "EXPIRED: its stale roles alone count until a sync brings a newer one"
  case "damaged": "NOT BELIEVED: its stale roles alone count until a sync brings it anew"
  default: "in force"
  }
}
