import Models
import Storage
import Testing
import Trust

@testable import Agent

/// Variants through a whole agent with the real engine, and what the log says of them.
@Suite(.serialized, .enabled(if: RealEngine.isThere)) struct VariantTests {
  private let policy = """
    {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
      both: {allow: [{verbs: ['infer', 'model.list'], resources: ['model:*']}]},
      alone: {allow: [{verbs: ['infer', 'model.list'], resources: ['model:ada']}]}},
     bindings: [{role: 'admin', subjects: ['uid:0']}]}
    """

  private func token(_ box: AgentBox, _ role: String) async throws -> String {
    let made = try await box.ask("POST", "/skerry/v1/tokens", ["name": .string(role), "roles": [.string(role)]])
    return try #require(made.json["token"]?.string)
  }

  @Test func aVariantAnswersForWhoMayAskBothAndIsOnRecord() async throws {
    let box = try await AgentBox.start(policy: policy)
    let created = try await box.ask(
      "POST", "/api/create",
      [
        "model": "ada", "from": "smol", "system": "the word is zyzzyva", "parameters": ["num_predict": 3],
        "stream": false,
      ])
    #expect(created.json["status"] == "success")
    let (both, alone) = (try await token(box, "both"), try await token(box, "alone"))
    let hello: JSONValue = ["model": "ada", "messages": [["role": "user", "content": "hi"]]]
    // In OpenAI's API too.
    let said = try await box.ask("POST", "/v1/chat/completions", hello, token: both)
    #expect(said.status == 200 && said.json["usage"]?["completion_tokens"] == 3)
    #expect((said.json["usage"]?["prompt_tokens"]?.integer ?? 0) > 10)
    let listed = try await box.ask("GET", "/v1/models", token: both).json["data"]?.array?.compactMap {
      $0["id"]?.string
    }
    #expect(listed == ["smol", "ada"])
    #expect(try await box.ask("GET", "/v1/models/ada", token: both).status == 200)
    let record = try #require(try await box.records("inference").last)
    #expect(record["variant"] == "ada" && record["model"] == "smol" && record["outcome"] == "completed")
    // Who may not ask the model may not ask its variant.
    #expect(try await box.ask("POST", "/v1/chat/completions", hello, token: alone).status == 403)
    #expect(try await box.ask("POST", "/api/show", ["model": "ada"], token: alone).status == 403)
    #expect(try await box.ask("POST", "/api/create", ["model": "x", "from": "smol"], token: both).status == 403)
    #expect(try await box.ask("DELETE", "/api/delete", ["model": "ada"], token: both).status == 403)
    #expect(try await box.ask("DELETE", "/api/delete", ["model": "ada"]).status == 200)
    #expect(try await box.ask("POST", "/v1/chat/completions", hello, token: both).status == 404)
    #expect(try await box.records("variant").map { $0["event"] } == ["create", "delete"])
    // What was said to the model is in no record.
    let log = try #require(try DurableFile.read(box.state + "/audit/log.jsonl"))
    #expect(!String(decoding: log, as: UTF8.self).contains("zyzzyva"))
    await box.stop()
  }

  @Test func aVariantIsNoWayAroundItsModelsLimits() async throws {
    let box = try await AgentBox.start(
      policy: """
        {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
          big: {allow: [{verbs: ['infer'], resources: ['model:smol']}], limits: {requestsPerMinute: 2}},
          lab: {allow: [{verbs: ['infer', 'model.create'], resources: ['model:my-*']}]}},
         bindings: [{role: 'admin', subjects: ['uid:0']}]}
        """)
    for name in ["my-1", "my-2", "my-3"] {
      let created = try await box.ask("POST", "/api/create", ["model": .string(name), "from": "smol", "stream": false])
      #expect(created.json["status"] == "success")
    }
    let made = try await box.ask("POST", "/skerry/v1/tokens", ["name": "lab", "roles": ["big", "lab"]])
    let lab = try #require(made.json["token"]?.string)
    var statuses: [Int] = []
    for name in ["my-1", "my-2", "my-3", "smol"] {
      let ask: JSONValue = ["model": .string(name), "max_tokens": 1, "messages": [["role": "user", "content": "hi"]]]
      statuses.append(try await box.ask("POST", "/v1/chat/completions", ask, token: lab).status)
    }
    #expect(statuses == [200, 200, 429, 429])
    #expect(try await box.records("inference").last?["role"] == "big")
    await box.stop()
  }

  @Test func variantsOutliveARestartAndAreBounded() async throws {
    let scratch = try Scratch()
    let database = try Database(path: scratch.path + "/a.sqlite", migrations: AgentDatabase.migrations)
    let first = try await VariantStore(database: database, audit: { _, _, _ in }, now: { 7 })
    let ada = try ModelVariant(
      name: "ada", base: "m:1", system: "s", parameters: ["stop": ["a"], "top_p": .double(0.5)],
      messages: [.init(role: "user", content: "hi")])
    try await first.put(ada, by: "uid:0")
    let second = try await VariantStore(database: database, audit: { _, _, _ in }, now: { 8 })
    #expect(second.find("ada:latest")?.variant == ada && second.find("ada")?.createdAt == 7)
    #expect(second.find("ada:v2") == nil)
    for number in 1..<ModelVariant.Limit.variants {
      try await second.put(try ModelVariant(name: "v\(number)", base: "m"), by: "uid:0")
    }
    await #expect(throws: VariantError.self) {
      try await second.put(try ModelVariant(name: "more", base: "m"), by: "u")
    }
    try await second.put(try ModelVariant(name: "ada", base: "n"), by: "uid:0")
    #expect(second.find("ada")?.variant.base == "n")
    database.close()
  }

  @Test func withoutARecordNothingIsMadeOrDeleted() async throws {
    let scratch = try Scratch()
    let database = try Database(path: scratch.path + "/a.sqlite", migrations: AgentDatabase.migrations)
    struct Full: Error {}
    let store = try await VariantStore(
      database: database, audit: { _, actor, _ in if actor == "nobody" { throw Full() } }, now: { 7 })
    let ada = try ModelVariant(name: "ada", base: "m")
    await #expect(throws: AccessFailure.self) { try await store.put(ada, by: "nobody") }
    #expect(store.all.isEmpty)
    try await store.put(ada, by: "somebody")
    await #expect(throws: AccessFailure.self) { try await store.remove("ada", by: "nobody") }
    #expect(store.find("ada") != nil)
    database.close()
  }
}
