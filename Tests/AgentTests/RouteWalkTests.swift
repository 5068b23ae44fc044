import Access
import Foundation
import Testing
import Trust
import Web

@testable import Agent

/// Every route of the local API with every role: 403 where the policy denies the verb that the route declares, and nowhere
/// else.
@Suite(.serialized) struct RouteWalkTests {
  /// What a walk needs to know of a route beyond its pattern.
  private struct Sample {
    var query = ""
    var body: JSONValue?
    /// What the declared verb is decided on.
    var resource: Resource?
    /// What is decided besides.
    var also: [(Verb, Resource)] = []
    /// In the place of the declared verb.
    var instead: Verb?
  }

  private static let smol = Resource.model("smol")
  private static let messages: JSONValue = [["role": "user", "content": "x"]]

  private static let samples: [String: Sample] = [
    "POST /v1/chat/completions": ask(["messages": messages, "max_tokens": 1]),
    "POST /v1/completions": ask(["prompt": "x", "max_tokens": 1]),
    "POST /v1/embeddings": ask(["input": "x"]),
    "POST /v1/responses": ask(["input": "x", "max_output_tokens": 16]),
    "POST /v1/responses/input_tokens": ask(["input": "x"]),
    "POST /v1/messages": ask(["messages": messages, "max_tokens": 1]),
    "POST /v1/messages/count_tokens": ask(["messages": messages]),
    "POST /api/chat": ask(["messages": messages, "options": ["num_predict": 1]]),
    "POST /api/generate": ask(["prompt": "x", "options": ["num_predict": 1]]),
    "POST /api/embed": ask(["input": "x"]), "POST /api/embeddings": ask(["prompt": "x"]), "POST /api/show": ask([:]),
    "POST /api/pull": Sample(
      body: ["model": "absent"], resource: .model("absent"), also: [(.syncRun, .all(for: .syncRun))]),
    "POST /api/create": Sample(
      body: ["model": "made", "from": "smol"], resource: .model("made"), also: [(.modelList, smol)]),
    "POST /api/copy": Sample(
      body: ["source": "smol", "destination": "copied"], resource: .model("copied"), also: [(.modelList, smol)]),
    "DELETE /api/delete": Sample(body: ["model": "absent"], resource: .model("absent")),
    "POST /skerry/v1/roles/simulate": Sample(body: ["policy": .string(AccessControl.builtInPolicy)]),
    "POST /skerry/v1/bindings": Sample(body: ["role": "chat", "subject": "token:walk"], resource: .role("chat")),
    "DELETE /skerry/v1/bindings": Sample(query: "?role=chat&subject=token:nothing", resource: .role("chat")),
    "POST /skerry/v1/tokens": Sample(body: ["name": "smol", "roles": ["chat"]], resource: .token("smol")),
    "DELETE /skerry/v1/tokens/{name}": Sample(resource: .token("smol")),
    "GET /skerry/v1/explain": Sample(query: "?subject=local&verb=infer&resource=model:smol"),
    "GET /skerry/v1/review/who-can": Sample(query: "?verb=infer&resource=model:smol"),
    "GET /skerry/v1/review/what-may": Sample(query: "?subject=local"),
    "POST /skerry/v1/enroll": Sample(body: ["token": "x"]),
    "POST /skerry/v1/bundle/enroll": Sample(body: ["token": "x"]),
    "POST /skerry/v1/break-glass": Sample(body: ["code": "x", "reason": "the walk"]),
  ]

  private static func ask(_ members: [String: JSONValue]) -> Sample {
    Sample(body: .object(members.merging(["model": "smol"]) { one, _ in one }), resource: smol)
  }

  private struct Guest {
    let name: String
    let roles: [String]
    var scope: [String]?
  }

  private static let guests = [
    Guest(name: "nothing", roles: []), Guest(name: "a-chat", roles: ["chat"]),
    Guest(name: "an-operator", roles: ["operator"]), Guest(name: "an-auditor", roles: ["auditor"]),
    Guest(name: "an-admin", roles: ["admin"]), Guest(name: "a-watcher", roles: ["admin"], scope: ["status.read"]),
    Guest(
      name: "narrow", roles: ["admin"],
      scope: ["infer:model:smol", "model.list:model:smol", "model.manage:model:smol"]),
  ]

  @Test func everyRouteAsksEveryRoleForItsVerb() async throws {
    let policy = AccessControl.builtInPolicy.replacing(
      #"bindings: ["#, with: "bindings: [{role: 'admin', subjects: ['uid:\(geteuid())']}, ")
    let box = try await AgentBox.start(policy: policy, settings: ["limits.managementPerMinute": "1000000"])
    var tokens: [(guest: Guest, token: String, caller: Caller)] = []
    for guest in Self.guests {
      let made = try await box.ask(
        "POST", "/skerry/v1/tokens",
        [
          "name": .string(guest.name), "roles": .array(guest.roles.map(JSONValue.string)),
          "scope": guest.scope.map { .array($0.map(JSONValue.string)) } ?? .null,
        ])
      tokens.append(
        (
          guest, try #require(made.json["token"]?.string),
          .token(guest.name, scope: try guest.scope.map { try Scope(words: $0) })
        ))
    }
    #expect(Set(Self.guests.flatMap(\.roles)) == Set(box.agent.access.policy.roles.map(\.name)), "a role is not walked")
    let known = Set(box.agent.routes.map { "\($0.method) \($0.pattern)" })
    #expect(Set(Self.samples.keys).isSubset(of: known), "a sample for a route that is no more")

    var steps = 0
    for route in box.agent.routes {
      let line = "\(route.method) \(route.pattern)"
      var cases = [Self.samples[line] ?? Sample()]
      if line == "GET /skerry/v1/usage" { cases.append(Sample(query: "?mine=true", instead: .statusRead)) }
      for sample in cases {
        let stranger = try await status(box, route, sample, token: "")
        switch route.need.kind {
        case .anybody: #expect(stranger == 200, "\(line): nobody got \(stranger)")
        case .known, .verb: #expect(stranger == 401, "\(line): nobody got \(stranger)")
        }
        var unverbed: Set<Int> = []
        for (guest, token, caller) in tokens {
          let got = try await status(box, route, sample, token: token)
          steps += 1
          switch route.need.kind {
          case .anybody: #expect(got == 200, "\(line) as \(guest.name): \(got)")
          case .known: unverbed.insert(got)
          case .verb(let declared, let target):
            let verb = sample.instead ?? declared
            let isAllowed = ([(verb, resource(verb, target, sample))] + sample.also).allSatisfy {
              box.agent.access.policy.decide(caller, $0.0, $0.1, in: box.agent.access.context(caller)).isAllowed
            }
            let isRight = isAllowed ? got != 403 && got != 401 && got != 500 : got == 403
            #expect(isRight, "\(line) as \(guest.name): \(got), where \(verb.rawValue) is \(isAllowed)")
          }
        }
        #expect(unverbed.count < 2 && !unverbed.contains(401) && !unverbed.contains(500), "\(line): \(unverbed)")
      }
    }
    #expect(steps > 400)
    await box.stop()
  }

  private func resource(_ verb: Verb, _ target: RouteNeed.Target, _ sample: Sample) -> Resource {
    switch target {
    case .all: .all(for: verb)
    case .model: Self.smol
    // A list is decided by what there is to list.
    case .said(LocalAPI.someModel): RealEngine.weights != nil ? Self.smol : .all(for: verb)
    case .said: sample.resource ?? .all(for: verb)
    }
  }

  private func status(_ box: AgentBox, _ route: GovernedRoute, _ sample: Sample, token: String) async throws -> Int {
    var path = route.pattern
    for (name, value) in [("{name}", "smol"), ("{id}", "smol"), ("{n}", "0"), ("{digest}", "sha256:00")] {
      path = path.replacing(name, with: value)
    }
    #expect(!path.contains("{"), "\(route.pattern): what is to stand for its parameter?")
    // Some answers never end.
    let stream = try await box.client.stream(box.request(route.method, path + sample.query, sample.body, token: token))
    defer { stream.cancel() }
    return stream.status
  }

  @Test func anAnswerWithoutItsDecisionIsWithheld() {
    let (good, bad) = (HTTPResponse.empty(200), HTTPResponse.empty(404))
    #expect(GovernedRouter.isGoverned([.infer], .asksModel, good))
    #expect(!GovernedRouter.isGoverned([], .asksModel, good))
    #expect(GovernedRouter.isGoverned([], .asksModel, bad))
    #expect(!GovernedRouter.isGoverned([.infer, .auditRead], .asksModel, good))
    #expect(!GovernedRouter.isGoverned([.auditRead], .knows("x"), good))
    #expect(GovernedRouter.isGoverned([], .knows("x"), good))
  }

  /// The table in docs/api.md, word for word.
  @Test func theDocumentedTableIsTheCodes() async throws {
    let box = try await AgentBox.start()
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "docs/api.md")
    let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map(String.init)
    let expected = box.agent.routes.map(Self.row).sorted()
    await box.stop()
    let start = try #require(lines.firstIndex(of: "| endpoint | verb | on |"))
    let documented = lines[(start + 2)...].prefix { $0.hasPrefix("| ") }
    #expect(documented.sorted() == expected, "docs/api.md should have:\n\(expected.joined(separator: "\n"))")
  }

  private static func row(_ route: GovernedRoute) -> String {
    let line = "| `\(route.method) \(route.pattern)` | "
    switch route.need.kind {
    case .anybody(let reason): return line + "none, for anybody | \(reason) |"
    case .known(let reason): return line + "none, for known callers | \(reason) |"
    case .verb(let verb, let target):
      let on =
        switch target {
        case .all: "`\(Resource.all(for: verb))`"
        case .model: "the model in the path"
        case .said(let what): what
        }
      let besides = route.need.besides.sorted { $0.key.rawValue < $1.key.rawValue }
        .map { "; `\($0.key.rawValue)` \($0.value)" }.joined()
      return line + "`\(verb.rawValue)` | \(on)\(besides) |"
    }
  }
}
