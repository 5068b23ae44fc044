import Testing

@testable import Access

@Suite struct SessionTests {
  static let policy = """
    {version: 1,
     roles: {
       chat: {allow: [{verbs: ['infer'], resources: ['model:*']}], forbid: [{verbs: ['infer'], resources: ['model:secret-*']}]},
       ops: {inherits: ['chat'], allow: [{verbs: ['model.manage'], resources: ['model:*']}]},
       auditor: {allow: [{verbs: ['audit.export'], resources: ['audit:*']}]},
       maker: {allow: [{verbs: ['role.manage'], resources: ['role:*']}]},
       checker: {allow: [{verbs: ['audit.read'], resources: ['audit:*']}]},
     },
     bindings: [{role: 'ops', subjects: ['uid:1', 'group:both']}, {role: 'auditor', subjects: ['uid:1', 'uid:2']},
       {role: 'maker', subjects: ['group:makers']}, {role: 'checker', subjects: ['group:checkers']}],
     separation: {
       dynamic: {'run-or-audit': {roles: ['chat', 'auditor']}},
       static: {'two-people': {roles: ['maker', 'checker'], atMost: 1}},
     }}
    """
  let policy: Policy
  init() throws { policy = try Policy(parsing: Array(SessionTests.policy.utf8)) }

  private func one(_ uid: UInt32, _ groups: [String] = [], as roles: Set<String>? = nil) -> Caller {
    var caller = Caller.local(uid: uid, name: nil, groups: groups.map { (900, $0) })
    caller.activated = roles
    return caller
  }

  /// Who holds roles that may not be active together says which; by default none of them is.
  @Test func rolesThatMayNotBeActiveTogetherAreChosen() {
    #expect(!policy.decide(one(1), .infer, .model("a")).isAllowed)
    #expect(policy.session(of: one(1)).held == ["auditor", "ops"] && policy.session(of: one(1)).active.isEmpty)
    #expect(policy.decide(one(1, as: ["ops"]), .infer, .model("a")).isAllowed)
    #expect(policy.decide(one(1, as: ["auditor"]), .auditExport, .all(for: .auditExport)).isAllowed)
    #expect(!policy.decide(one(1, as: ["auditor"]), .infer, .model("a")).isAllowed)
    let both = policy.decide(one(1, as: ["auditor", "ops"]), .infer, .model("a"))
    #expect(both.text.contains("at most 1, by separation.dynamic.run-or-audit"))
    // The one who holds one of them only has it.
    #expect(policy.decide(one(2), .auditExport, .all(for: .auditExport)).isAllowed)
    guard case .denied(let denial) = policy.decide(one(1), .infer, .model("a")) else {
      Issue.record("allowed")
      return
    }
    #expect(denial.remedy.changes == [.activate("chat")])
    #expect(denial.reason.contains("none of them is active until the request names it"))
  }

  @Test func lessThanWhatIsHeldCanBeActive() {
    // A role that ops inherits: what ops has besides is not there.
    #expect(policy.decide(one(1, as: ["chat"]), .infer, .model("a")).isAllowed)
    #expect(!policy.decide(one(1, as: ["chat"]), .modelManage, .model("a")).isAllowed)
    #expect(!policy.decide(one(1, as: []), .infer, .model("a")).isAllowed)
    let foreign = policy.decide(one(2, as: ["ops"]), .infer, .model("a"))
    #expect(foreign.text.hasPrefix("uid:2 asked with the role ops, which they don't hold"))
  }

  /// What is forbidden through a role stays so when the role is left out.
  @Test func nobodyLeavesAForbiddanceBehind() {
    for roles in [nil, Set(["ops"]), ["auditor"], []] {
      let decision = policy.decide(one(1, as: roles), .infer, .model("secret-1"))
      #expect(decision.text.hasPrefix("chat forbids infer on model:secret-*, which is roles.chat.forbid[0]"))
    }
  }

  /// Groups can bring together what no binding does: then none of it counts.
  @Test func rolesThatNobodyMayHoldTogetherCountForNobodyWhoDoes() throws {
    #expect(policy.decide(one(3, ["makers"]), .roleManage, .role("chat")).isAllowed)
    let both = one(3, ["makers", "checkers"])
    #expect(policy.decide(both, .roleManage, .role("chat")).text.contains("separation.static.two-people"))
    #expect(policy.staticConflict(of: both)?.name == "two-people")
    var chosen = both
    chosen.activated = ["maker"]
    #expect(!policy.decide(chosen, .roleManage, .role("chat")).isAllowed)
    // And no binding does.
    #expect(throws: PolicyError.self) {
      try policy.adding([Binding(role: "maker", subject: "uid:5"), Binding(role: "checker", subject: "uid:5")])
    }
    #expect(throws: PolicyError.self) {
      try policy.adding([Binding(role: "maker", subject: "local"), Binding(role: "checker", subject: "uid:5")])
    }
    // A token's holder is not on the socket.
    let free = try policy.removing(Binding(role: "checker", subject: "group:checkers"))
    #expect(throws: Never.self) {
      try free.adding([Binding(role: "maker", subject: "local"), Binding(role: "checker", subject: "token:t")])
    }
  }
}
