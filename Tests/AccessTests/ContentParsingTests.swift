import Testing

@testable import Access

@Suite struct ContentParsingTests {
  private let ann = Caller.local(uid: 1000, name: "ann", groups: [])

  private func days(_ roles: String, holding: String, _ caller: Caller? = nil) throws -> Int? {
    let held = holding.split(separator: " ").map { "{role: '\($0)', subjects: ['local']}" }.joined(separator: ", ")
    let policy = try Policy(parsing: Array("{version: 1, roles: {\(roles)}, bindings: [\(held)]}".utf8))
    return policy.contentDays(caller ?? ann, .infer, .model("m"), in: RequestContext())
  }

  private let allow = "allow: [{verbs: ['infer'], resources: ['model:*']}]"

  @Test func theLongestOfWhatLetsThemAskCounts() throws {
    #expect(try days("chat: {\(allow)}", holding: "chat") == nil)
    #expect(try days("chat: {\(allow), keepContent: {days: 30}}", holding: "chat") == 30)
    #expect(try days("chat: {\(allow), keepContent: {days: 30}}, free: {\(allow)}", holding: "chat free") == 30)
    let two = "chat: {\(allow), keepContent: {days: 3}}, logged: {inherits: ['chat'], keepContent: {days: 90}}"
    #expect(try days(two, holding: "chat logged") == 90)
    #expect(try days(two, holding: "chat") == 3)
    // What is inherited counts where the role says nothing; a role that does not let them ask says nothing.
    #expect(try days("chat: {\(allow), keepContent: {days: 3}}, own: {inherits: ['chat']}", holding: "own") == 3)
    let other = "chat: {\(allow)}, x: {allow: [{verbs: ['sync.run'], resources: ['box:*']}], keepContent: {days: 9}}"
    #expect(try days(other, holding: "chat x") == nil)
    #expect(try days("chat: {\(allow), keepContent: {days: 3}}", holding: "chat", .token("none")) == nil)
  }

  @Test(arguments: [
    "{}", "30", "{days: 0}", "{days: 3651}", "{days: 1.5}", "{days: null}", "{days: 3, more: 1}", "true",
  ])
  func whatIsWrongIsRefused(_ text: String) {
    #expect(throws: PolicyError.self) { try days("chat: {\(allow), keepContent: \(text)}", holding: "chat") }
  }
}
