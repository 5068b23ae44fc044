import Testing

@testable import Access

@Suite struct FleetPolicyTests {
  static let document = """
    // what the fleet says
    {version: 1, serial: 7, expires: "2027-01-31T00:00:00Z", staleRoles: ["chat"], ceiling: ["infer:model:q*", "model.list"],
     trial: {days: 3, mostChanged: 5},
     policy: {version: 1,
      roles: {
       chat: {allow: [{verbs: ["infer"], resources: ["model:smol"]}], forbid: [{verbs: ["infer"], resources: ["model:*-draft"]}]},
       qwen: {allow: [{verbs: ["infer"], resources: ["model:qwen-*"]}]},
       auditor: {allow: [{verbs: ["audit.read"], resources: ["audit:*"]}]},
       admin: {inherits: ["chat"], allow: [{verbs: ["*"], resources: ["*"]}],
               forbid: [{verbs: ["audit.export"], resources: ["audit:*"]}]}},
      bindings: [{role: "chat", subjects: ["local"]}, {role: "admin", subjects: ["uid:0"]}],
      forbid: [{verbs: ["infer"], resources: ["model:bad"]}],
      separation: {static: {apart: {roles: ["admin", "auditor"]}}}}}
    """

  static func fleet(_ change: (String) -> String = { $0 }) throws -> FleetPolicy {
    try FleetPolicy(parsing: Array(change(document).utf8))
  }

  static func local(_ text: String) throws -> Policy { try Policy(parsing: Array(text.utf8)) }

  static let nothing = "{version: 1, roles: {}}"
  let root = Caller.local(uid: 0, name: "root", groups: [])
  let ann = Caller.local(uid: 7, name: "ann", groups: [(9, "ops")])

  @Test func theDocumentIsRead() throws {
    let fleet = try Self.fleet()
    #expect(fleet.serial == 7 && fleet.expires == 1_801_353_600 && fleet.staleRoles == ["chat"])
    #expect(fleet.ceiling?.words == ["infer:model:q*", "model.list"])
    #expect(fleet.trial == FleetPolicy.Trial(days: 3, mostChanged: 5))
    #expect(!fleet.isExpired(at: 1_801_353_599) && fleet.isExpired(at: 1_801_353_600))
    #expect(fleet.errors().isEmpty)
    #expect(fleet.warnings().contains { $0.kind == .unheld && $0.path == "roles.auditor" })
    #expect(
      try Self.fleet { $0.replacing(#""infer:model:q*", "model.list""#, with: #""*""#) }.ceiling?.grants.count
        == Verb.allCases.count)
  }

  @Test(arguments: [
    ("version: 1, serial", "version: 2, serial", "version"), ("serial: 7", "serial: 0", "serial"),
    ("serial: 7, ", "", "serial is missing"), ("2027-01-31T00:00:00Z", "2027-02-31T00:00:00Z", "expires"),
    (#""chat"], ceiling"#, #""ghost"], ceiling"#, #"unknown role "ghost""#), (#"["chat"], c"#, "[], c", "staleRoles"),
    (#"["chat"], c"#, #"["admin"], c"#, "give every role away"), ("model.list\"]", "model.lisp\"]", "ceiling[1]"),
    ("days: 3", "days: 0", "trial.days"), ("trial", "trail", "unknown key"),
    ("policy: {version: 1,", "policy: {", "policy: version is missing"),
    (#"verbs: ["*"]"#, #"verbs: ["x"]"#, "policy.roles.admin.allow[0].verbs[0]"),
  ])
  func mistakesAreNamed(_ from: String, _ to: String, _ said: String) throws {
    let error = #expect(throws: PolicyError.self) { try Self.fleet { $0.replacing(from, with: to) } }
    #expect(try #require(error).description.contains(said), "\(error.map(\.description) ?? "")")
  }

  @Test func lintTellsWhatMustNotBePublished() throws {
    let dead = try Self.fleet { $0.replacing("model:qwen-*", with: "box:qwen") }
    #expect(dead.errors().map(\.kind) == [.unreachable])
    let nobody = try Self.fleet { $0.replacing(#"["uid:0"]"#, with: "[]") }
    #expect(nobody.errors().map(\.kind) == [.administrator])
    let left = try Self.fleet {
      $0.replacing(#"["uid:0"]"#, with: "[]").replacing("model.list\"]", with: "role.manage\"]")
    }
    #expect(left.errors().isEmpty)
  }

  @Test func theBoxAddsUpToTheCeilingAndForbidsMore() throws {
    let local = try Self.local(
      """
      {version: 1, roles: {
         mine: {allow: [{verbs: ["infer", "status.read"], resources: ["*"]}, {verbs: ["infer"], resources: ["model:q1"]}]},
         chat: {allow: [{verbs: ["*"], resources: ["*"]}], forbid: [{verbs: ["infer"], resources: ["model:smol"], when: {days: ["sun"]}}]},
         up: {inherits: ["mine"], forbid: [{verbs: ["model.list"], resources: ["model:*"]}]}},
       bindings: [{role: "up", subjects: ["token:a"]}, {role: "mine", subjects: ["local"]}],
       forbid: [{verbs: ["infer"], resources: ["model:q9"]}]}
      """)
    let made = try Self.fleet().combined(
      with: local,
      bound: [
        Binding(role: "chat", subject: "token:b"), Binding(role: "qwen", subject: "token:c"),
        Binding(role: "ghost", subject: "token:c"),
      ])
    let policy = made.policy
    #expect(policy.decide(.token("a"), .infer, .model("q1")).isAllowed)
    for model in ["q2", "smol", "q9"] { #expect(!policy.decide(.token("a"), .infer, .model(model)).isAllowed) }
    #expect(!policy.decide(ann, .statusRead, Resource(kind: "box", name: "x")).isAllowed)
    #expect(
      policy.decide(ann, .infer, .model("smol"), in: RequestContext(time: WeekTime(day: .monday, minute: 0))).isAllowed)
    // What the box's role of the same name forbids counts for whoever holds the fleet's.
    let sunday = policy.decide(ann, .infer, .model("smol"), in: RequestContext(time: WeekTime(day: .sunday, minute: 0)))
    #expect(sunday.text.contains("chat (local) forbids infer on model:smol"))
    // The fleet's chat allows smol, which no ceiling covers, so that the box can't give it to others.
    #expect(!policy.decide(.token("b"), .infer, .model("smol")).isAllowed)
    #expect(policy.decide(.token("c"), .infer, .model("qwen-1")).isAllowed)
    #expect(policy.allows("chat").map(\.path) == ["policy.roles.chat.allow[0]"])
    // Its role `mine` is cut, not lost: its second rule is in its place.
    #expect(policy.allows("mine").map(\.path) == ["roles.mine.allow[1]"])
    #expect(policy.decide(.token("a"), .infer, .model("bad")).text.contains("the policy forbids everybody"))
    #expect(made.ignored.map(\.path) == ["bindings", "roles.chat", "roles.mine.allow[0]"])
  }

  @Test func withoutACeilingNothingIsAdded() throws {
    let fleet = try Self.fleet { $0.replacing(#"ceiling: ["infer:model:q*", "model.list"],"#, with: "") }
    let built = try Self.local(
      """
      {version: 1, roles: {admin2: {allow: [{verbs: ["*"], resources: ["*"]}]}},
       bindings: [{role: "admin2", subjects: ["uid:7", "local"]}], forbid: [{verbs: ["infer"], resources: ["*"]}]}
      """)
    let policy = fleet.combined(with: built).policy
    #expect(!policy.decide(ann, .roleManage, .role("chat")).isAllowed)
    #expect(!policy.decide(ann, .infer, .model("smol")).isAllowed)
    #expect(policy.decide(root, .roleManage, .role("chat")).isAllowed)
  }

  @Test func theBoxsBindingsGiveWayToSeparation() throws {
    let fleet = try Self.fleet { $0.replacing("model.list\"]", with: "audit.read\"]") }
    let local = try Self.local(
      """
      {version: 1, roles: {helper: {inherits: ["a"]}, a: {allow: [{verbs: ["audit.read"], resources: ["*"]}]}, auditor: {}},
       bindings: [{role: "auditor", subjects: ["uid:0", "uid:7"]}]}
      """)
    let made = fleet.combined(with: local)
    #expect(made.policy.decide(ann, .auditRead, Resource(kind: "audit", name: "log")).isAllowed)
    #expect(made.ignored.contains { $0.problem.contains("uid:0 would break separation.static.apart") })
    #expect(made.policy.staticConflict(of: root) == nil)
  }

  @Test func whatHasExpiredLeavesTheStaleRoles() throws {
    let local = try Self.local(
      """
      {version: 1, roles: {mine: {allow: [{verbs: ["infer"], resources: ["model:q*"]}]}},
       bindings: [{role: "mine", subjects: ["uid:7"]}], forbid: [{verbs: ["infer"], resources: ["model:smol"], when: {days: ["sun"]}}]}
      """)
    let rest = try Self.fleet().reduced(with: local).policy
    let monday = RequestContext(time: WeekTime(day: .monday, minute: 0), transport: .socket)
    #expect(rest.decide(ann, .infer, .model("smol"), in: monday).isAllowed)
    #expect(rest.decide(root, .infer, .model("smol"), in: monday).isAllowed)
    #expect(!rest.decide(ann, .infer, .model("q1"), in: monday).isAllowed)
    #expect(!rest.decide(root, .roleManage, .role("chat"), in: monday).isAllowed)
    #expect(rest.administrators.isEmpty)
    for (caller, model) in [(ann, "a-draft"), (root, "bad"), (root, "a-draft")] {
      #expect(rest.decide(caller, .infer, .model(model), in: monday).text.contains("forbid"))
    }
    let export = rest.decide(root, .auditExport, Resource(kind: "audit", name: "log"), in: monday).text
    #expect(export.contains("admin (stale) forbids audit.export"))
    // What is lent in an emergency is lent whole.
    let lent = try rest.adding([Binding(role: "admin", subject: "uid:7")])
    #expect(lent.decide(ann, .roleManage, .role("chat"), in: monday).isAllowed)
  }

  /// Random fleets, boxes and ceilings: a box's additions give nothing that the ceiling does not cover, lift nothing that
  /// the fleet forbids, and what has expired is a part of what was.
  @Test func noAdditionGoesBeyondTheCeiling() throws {
    var random = SeededRandom(state: 2027)
    var (added, refused, lifted, stale) = (0, 0, 0, 0)
    for _ in 0..<1500 {
      let own = RandomPolicy(using: &random)
      guard let central = own.policy,
        let first = own.roles.filter({ !$0.permissions.isEmpty }).randomElement(using: &random)
      else { continue }
      var other = RandomPolicy(using: &random)
      // Some of the box's roles have other names than the fleet's, and inherit from the fleet's.
      let offset = Int.random(in: 0...4, using: &random)
      func renamed(_ name: String) -> String { "r\((Int(name.dropFirst()) ?? 0) + offset)" }
      other.roles = other.roles.map { role in
        Role(
          name: renamed(role.name), summary: "", inherits: role.inherits.map(renamed), permissions: role.permissions,
          forbids: role.forbids)
      }
      other.bindings = other.bindings.map { Binding(role: renamed($0.role), subject: $0.subject) }
      other.separation = other.separation.map {
        SeparationSet(name: "t", kind: $0.kind, roles: $0.roles.map(renamed), atMost: $0.atMost)
      }
      guard let local = other.policy else { continue }
      let ceiling = Scope(
        Verb.allCases.filter { _ in random.once(in: 2) }.compactMap { verb in
          Scope.Grant([verb.rawValue, "\(verb.rawValue):\(verb.resourceKind):q*"].randomElement(using: &random) ?? "")
        })
      let fleet = try FleetPolicy(
        testing: central.central, ceiling: random.once(in: 6) ? nil : ceiling, staleRoles: [first.name])
      let whole = fleet.combined(with: local).policy
      let rest = fleet.reduced(with: local).policy
      let kept = RandomPolicy(roles: own.roles).below([first.name])
      for var caller in RandomPolicy.callers {
        if random.once(in: 4) {
          caller.activated = Set((own.roles + other.roles).map(\.name).filter { _ in random.once(in: 4) })
        }
        for verb in Verb.allCases {
          for resource in RandomPolicy.resources where resource.kind == verb.resourceKind {
            let context = RandomPolicy.context(caller, using: &random)
            // Who asks with a role of the box's too may ask with the fleet's alone.
            var plain = caller
            let held = own.bindings.filter { binding in caller.subjects.contains { "\($0)" == binding.subject } }
            plain.activated?.formIntersection(RandomPolicy(roles: own.roles).below(Set(held.map(\.role))))
            let alone = fleet.policy.decide(plain, verb, resource, in: context)
            let decision = whole.decide(caller, verb, resource, in: context)
            if decision.isAllowed, !alone.isAllowed {
              added += 1
              #expect(fleet.ceiling?.covers(verb, resource) == true, "\(decision.text) \(caller.activated ?? [])")
            }
            if case .denied(let denial) = alone, case .forbidden = denial.cause {
              lifted += 1
              #expect(!decision.isAllowed)
            }
            refused += local.decide(caller, verb, resource, in: context).isAllowed && !decision.isAllowed ? 1 : 0
            if case .allowed(let grounds) = rest.decide(caller, verb, resource, in: context) {
              stale += 1
              #expect(decision.isAllowed && kept.contains(grounds.rule.role ?? ""))
            }
          }
        }
      }
    }
    #expect(added > 100 && refused > 100 && lifted > 100 && stale > 100, "\(added) \(refused) \(lifted) \(stale)")
  }
}

extension FleetPolicy {
  init(testing policy: Policy, ceiling: Scope?, staleRoles: [String]) throws {
    try self.init(
      serial: 1, expires: 0, staleRoles: staleRoles, ceiling: ceiling, trial: Trial(days: 1, mostChanged: nil),
      policy: policy)
  }
}
