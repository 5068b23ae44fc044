@testable import Access

/// A small generator with a fixed seed (SplitMix64), so that a failing case can be run again.
struct SeededRandom: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// Policies, callers and questions drawn from small sets, so that they meet often.
struct RandomPolicy {
  static let patterns = ["*", "model:*", "model:q*", "model:qwen-a", "model:*-a", "role:*", "box:*", "token:app*"]
  static let resources = [
    Resource.model("qwen-a"), .model("smol"), .model("q"), .role("chat"), .token("app1"),
    Resource(kind: "box", name: "x"),
  ]
  static let subjects = ["uid:0", "uid:7", "user:ann", "gid:9", "group:ops", "token:app1", "token:app2", "local"]
  static let callers = [
    Caller.token("app1"), .token("nobody"), .local(uid: 0, name: "root", groups: [(0, "root")]),
    .local(uid: 7, name: "ann", groups: [(9, "ops"), (100, nil)]), .local(uid: 42, name: nil, groups: []),
  ]

  var roles: [Role]
  var bindings: [Binding]

  init(using random: inout SeededRandom) {
    let names = (0..<Int.random(in: 1...6, using: &random)).map { "r\($0)" }
    roles = names.enumerated().map { index, name in
      // Inheriting only from earlier ones keeps it free of circles.
      let parents = names[..<index].filter { _ in Int.random(in: 0..<3, using: &random) == 0 }
      let permissions = (0..<Int.random(in: 0...2, using: &random)).map { _ in
        Permission(
          verbs: Verb.allCases.filter { _ in Int.random(in: 0..<5, using: &random) == 0 },
          resources: RandomPolicy.patterns.filter { _ in Int.random(in: 0..<4, using: &random) == 0 }
            .compactMap { ResourcePattern($0) })
      }
      return Role(name: name, summary: "", inherits: Array(parents), permissions: permissions)
    }
    bindings = (0..<Int.random(in: 0...4, using: &random)).compactMap { _ in
      guard let role = names.randomElement(using: &random),
        let subject = RandomPolicy.subjects.randomElement(using: &random)
      else { return nil }
      return Binding(role: role, subject: subject)
    }
  }

  /// The same question answered the slow and obvious way.
  func allows(_ caller: Caller, _ verb: Verb, _ resource: Resource) -> Bool {
    let bound = bindings.filter { binding in caller.subjects.contains { $0.description == binding.subject } }
    return bound.contains { grants($0.role, verb, resource) }
  }

  private func grants(_ name: String, _ verb: Verb, _ resource: Resource) -> Bool {
    roles.filter { $0.name == name }.contains { role in
      role.permissions.contains { $0.verbs.contains(verb) && $0.resources.contains { $0.covers(resource) } }
        || role.inherits.contains { grants($0, verb, resource) }
    }
  }
}
