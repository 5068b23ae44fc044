import Glibc
import Storage
import Testing
import Trust
import Web

@testable import Agent

/// The API as its clients meet it: a whole agent, the real engine, real sockets.
@Suite(.serialized, .enabled(if: RealEngine.isThere)) struct LocalAPITests {
  private let hello: JSONValue = [
    "model": "smol", "messages": [["role": "user", "content": "Say a rare word: zyzzyva"]], "max_tokens": 8,
    "temperature": 0,
  ]

  private func with(_ value: JSONValue, _ more: [String: JSONValue]) -> JSONValue {
    .object((value.object ?? [:]).merging(more) { _, new in new })
  }

  @Test func chatIsStreamedAndOnRecord() async throws {
    let box = try await AgentBox.start()
    let stream = try await box.client.stream(
      box.request("POST", "/v1/chat/completions", with(hello, ["stream": true])))
    #expect(stream.status == 200)
    #expect(stream.headers["Content-Type"]?.hasPrefix("text/event-stream") == true)
    var parser = ServerSentEvents()
    var events: [String] = []
    for try await piece in stream { events += parser.push(piece).map(\.text) }
    #expect(events.last == "[DONE]")
    let chunks = try events.dropLast().map { try JSONValue(parsing: $0.utf8) }
    #expect(chunks.allSatisfy { $0["object"] == "chat.completion.chunk" && $0["model"] == "smol" })
    #expect(chunks.allSatisfy { $0["usage"] == nil && $0["choices"]?.array?.isEmpty == false })
    let text = chunks.compactMap { $0["choices"]?.array?.first?["delta"]?["content"]?.string }.joined()
    #expect(!text.isEmpty)

    let record = try #require(try await box.records("inference").last)
    #expect(record["outcome"] == "completed")
    #expect(record["model"] == "smol")
    #expect(record["completionTokens"] == 8)
    #expect((record["promptTokens"]?.integer ?? 0) > 8)
    #expect(record["prompt"]?.string?.hasPrefix("hmac-sha256:") == true)
    let log = try #require(try DurableFile.read(box.state + "/audit/log.jsonl"))
    #expect(!String(decoding: log, as: UTF8.self).contains("zyzzyva"))
    await box.stop()
  }

  @Test func countsComeWhenTheyAreAskedFor() async throws {
    let box = try await AgentBox.start()
    let body = with(hello, ["stream": true, "stream_options": ["include_usage": true]])
    let response = try await box.client.send(box.request("POST", "/v1/chat/completions", body))
    var parser = ServerSentEvents()
    let events = parser.push(response.body).map(\.text)
    let last = try JSONValue(parsing: try #require(events.dropLast().last).utf8)
    #expect(last["choices"] == [])
    #expect(last["usage"]?["completion_tokens"] == 8)
    await box.stop()
  }

  @Test func whoWantsNoStreamGetsTheWhole() async throws {
    let box = try await AgentBox.start()
    let chat = try await box.ask("POST", "/v1/chat/completions", hello)
    #expect(chat.status == 200)
    #expect(chat.json["object"] == "chat.completion")
    #expect(chat.json["choices"]?.array?.first?["message"]?["role"] == "assistant")
    #expect(chat.json["choices"]?.array?.first?["finish_reason"] == "length")
    #expect(chat.json["usage"]?["completion_tokens"] == 8)
    let plain = try await box.ask(
      "POST", "/v1/completions", ["model": "smol:1", "prompt": "The sky is", "max_tokens": 3])
    #expect(plain.json["object"] == "text_completion")
    #expect(plain.json["choices"]?.array?.first?["text"]?.string?.isEmpty == false)
    #expect(plain.json["usage"]?["completion_tokens"] == 3)
    let vectors = try await box.ask("POST", "/v1/embeddings", ["model": "smol", "input": ["one", "two"]])
    #expect(vectors.status == 200)
    #expect(vectors.json["data"]?.array?.count == 2)
    #expect((vectors.json["data"]?.array?.first?["embedding"]?.array?.count ?? 0) > 100)
    let models = try await box.ask("GET", "/v1/models")
    #expect(models.json["data"]?.array?.first?["id"] == "smol")
    #expect(try await box.ask("GET", "/v1/models/smol").json["id"] == "smol")
    await box.stop()
  }

  @Test func ollamasClientsFindTheirs() async throws {
    let box = try await AgentBox.start()
    let body: JSONValue = [
      "model": "smol:latest", "messages": [["role": "user", "content": "Hi"]], "options": ["num_predict": 5],
    ]
    let response = try await box.client.send(box.request("POST", "/api/chat", body))
    let lines = try response.body.split(separator: 0x0A).map { try JSONValue(parsing: $0) }
    #expect(lines.count >= 2)
    #expect(lines.dropLast().allSatisfy { $0["done"] == false && $0["message"]?["content"]?.string != nil })
    let last = try #require(lines.last)
    #expect(last["done"] == true && last["done_reason"] == "length" && last["eval_count"] == 5)
    #expect((last["total_duration"]?.integer ?? 0) > 1_000_000)
    let whole = try await box.ask(
      "POST", "/api/generate", ["model": "smol", "prompt": "Hi", "stream": false, "options": ["num_predict": 4]])
    #expect(whole.json["response"]?.string?.isEmpty == false)
    #expect(whole.json["eval_count"] == 4)
    #expect(try await box.ask("POST", "/api/generate", ["model": "smol"]).json["done_reason"] == "load")
    #expect(try await box.ask("GET", "/api/tags").json["models"]?.array?.first?["name"] == "smol")
    #expect(try await box.ask("GET", "/api/ps").json["models"]?.array?.count == 1)
    #expect(try await box.ask("POST", "/api/show", ["model": "smol"]).json["details"]?["format"] == "gguf")
    #expect(
      try await box.ask("POST", "/api/embed", ["model": "smol", "input": "x"]).json["embeddings"]?.array?.count == 1)
    let unknown = try await box.ask("POST", "/api/chat", ["model": "none", "messages": [["role": "user"]]])
    #expect(unknown.status == 404)
    #expect(unknown.json["error"]?.string?.contains("none") == true)
    // No hub: what is here stays, what is not doesn't come.
    #expect(try await box.ask("POST", "/api/pull", ["model": "smol", "stream": false]).json["status"] == "success")
    #expect(try await box.ask("POST", "/api/pull", ["model": "x", "stream": false]).status == 409)
    await box.stop()
  }

  @Test func strangersAndTheUnentitledAreTurnedAway() async throws {
    let box = try await AgentBox.start(
      policy: """
        {version: 1, roles: {admin: {allow: [{verbs: ['*'], resources: ['*']}]},
          chat: {allow: [{verbs: ['infer'], resources: ['model:*']}]},
          other: {allow: [{verbs: ['infer', 'model.list'], resources: ['model:other']}]}},
         bindings: [{role: 'admin', subjects: ['uid:\(geteuid())']}]}
        """)
    let stranger = try await box.ask("POST", "/v1/chat/completions", hello, token: "")
    #expect(stranger.status == 401)
    #expect(stranger.headers["WWW-Authenticate"] == "Bearer realm=\"skerry\"")
    #expect(stranger.json["error"]?["type"] == "authentication_error")
    let made = try await box.ask("POST", "/skerry/v1/tokens", ["name": "app", "roles": ["other"]])
    #expect(made.status == 201)
    let token = try #require(made.json["token"]?.string)
    let denied = try await box.ask("POST", "/v1/chat/completions", hello, token: token)
    #expect(denied.status == 403)
    #expect(
      denied.json["error"]?["message"] == "none of the roles of token:app (other) allows infer on model:smol")
    #expect(denied.json["error"]?["hint"] == "what would change it: skerry role bind chat token:app")
    #expect(try await box.ask("GET", "/v1/models", token: token).json["data"] == nil)
    #expect(
      try await box.ask("POST", "/skerry/v1/bindings", ["role": "admin", "subject": "token:app"], token: token).status
        == 403)
    // What it named really changes it.
    #expect(try await box.ask("POST", "/skerry/v1/bindings", ["role": "chat", "subject": "token:app"]).status == 201)
    #expect(try await box.ask("POST", "/v1/chat/completions", hello, token: token).status == 200)
    #expect(try await box.records("inference").last?["actor"] == "token:app")
    #expect(try await box.ask("DELETE", "/skerry/v1/tokens/app").status == 200)
    #expect(try await box.ask("POST", "/v1/chat/completions", hello, token: token).status == 401)
    await box.stop()
  }

  @Test func aCallerWhoHangsUpStopsTheEngine() async throws {
    let box = try await AgentBox.start()
    let long = with(hello, ["max_tokens": 1500, "stream": true, "ignore_eos": true])
    let stream = try await box.client.stream(box.request("POST", "/v1/chat/completions", long))
    let iterator = stream.makeAsyncIterator()
    _ = try await iterator.next()
    stream.cancel()
    var record: JSONValue?
    for _ in 0..<60 where record == nil {
      try await Task.sleep(for: .milliseconds(100))
      record = try await box.records("inference").last
    }
    #expect(record?["outcome"] == "cancelled")
    #expect((record?["completionTokens"]?.integer ?? 2000) < 1400)
    // Also when nothing was streamed: the engine's own stream is what ends.
    let whole = Task {
      try await box.client.send(box.request("POST", "/v1/chat/completions", with(long, ["stream": false])))
    }
    try await Task.sleep(for: .milliseconds(400))
    whole.cancel()
    var count = 1
    for _ in 0..<60 where count < 2 {
      try await Task.sleep(for: .milliseconds(100))
      count = try await box.records("inference").count
    }
    #expect(try await box.records("inference").last?["outcome"] == "cancelled")
    var engine: JSONValue?
    for _ in 0..<20 where engine?["requests"] != 0 {
      engine = try await box.ask("GET", "/skerry/v1/status").json["engines"]?.array?.first
      try await Task.sleep(for: .milliseconds(50))
    }
    #expect(engine?["requests"] == 0)
    await box.stop()
  }

  @Test func aFlippedBitIsNotLoaded() async throws {
    let box = try await AgentBox.start()
    let descriptor = open(try box.blob, O_RDWR)
    var byte: UInt8 = 0
    #expect(pread(descriptor, &byte, 1, 50_000_000) == 1)
    byte ^= 1
    #expect(pwrite(descriptor, &byte, 1, 50_000_000) == 1)
    close(descriptor)
    let refused = try await box.ask("POST", "/v1/chat/completions", hello)
    #expect(refused.status == 503)
    #expect(refused.json["error"]?["code"] == "model_corrupt")
    #expect(try await box.records("model").contains { $0["event"] == "digest_mismatch" })
    #expect(try await !box.records("model").contains { $0["event"] == "load" })
    let model = try await box.ask("GET", "/skerry/v1/models/smol")
    #expect(model.json["state"] == "corrupt")
    #expect(try await box.ask("POST", "/skerry/v1/models/smol/verify").json["ok"] == false)
    await box.stop()
  }

  @Test func badRequestsAreNamed() async throws {
    let box = try await AgentBox.start(settings: ["limits.maxBodyBytes": "2048"])
    var broken = box.request("POST", "/v1/chat/completions")
    broken.body = .bytes(Array("{\"model\":".utf8))
    #expect(try await box.client.send(broken).status == 400)
    broken.body = .bytes([UInt8](repeating: 0x20, count: 5000))
    #expect(try await box.client.send(broken).status == 413)
    #expect(try await box.ask("POST", "/v1/chat/completions", with(hello, ["model": "none"])).status == 404)
    #expect(try await box.ask("GET", "/v1/models/none").status == 404)
    let wrong = try await box.ask("POST", "/v1/chat/completions", with(hello, ["messages": "hi"]))
    #expect(wrong.status == 400)
    #expect(wrong.json["error"]?["type"] == "invalid_request_error")
    let nonsense = try await box.ask(
      "POST", "/v1/chat/completions",
      with(hello, ["response_format": ["type": "json_schema", "json_schema": ["schema": ["type": "nonsense"]]]]))
    #expect(nonsense.status == 400)
    #expect(nonsense.json["error"]?["code"] == "engine_refused")
    // The engine's complaint quotes the request: the caller may read it, the audit log must not hold it.
    #expect(nonsense.json["error"]?["message"]?.string?.contains("nonsense") == true)
    #expect(try await box.records("inference").last?["reason"] == "400 engine_refused")
    let log = String(decoding: try #require(try DurableFile.read(box.state + "/audit/log.jsonl")), as: UTF8.self)
    #expect(!log.contains("nonsense"))
    #expect(try await box.ask("GET", "/v1/chat/completions").status == 405)
    #expect(try await box.ask("GET", "/nothing").json["error"]?["code"] == "not_found")
    #expect(try await box.ask("POST", "/skerry/v1/bindings", ["rolle": "x"]).status == 400)
    #expect(try await box.ask("GET", "/skerry/v1/audit?limit=none").status == 400)
    await box.stop()
  }

  @Test func stoppingLetsAnswersEnd() async throws {
    let box = try await AgentBox.start(settings: ["limits.drainSeconds": "20"])
    let body = with(hello, ["max_tokens": 60, "stream": true, "ignore_eos": true])
    let stream = try await box.client.stream(box.request("POST", "/v1/chat/completions", body))
    let stopping = Task { await box.agent.stop() }
    let bytes = try await stream.collect(upTo: 1 << 20)
    #expect(String(decoding: bytes, as: UTF8.self).hasSuffix("data: [DONE]\n\n"))
    await stopping.value
    await #expect(throws: HTTPClientError.self) { try await box.ask("GET", "/skerry/v1/health") }
    let log = String(decoding: try #require(try DurableFile.read(box.state + "/audit/log.jsonl")), as: UTF8.self)
    #expect(log.split(separator: "\n").last?.contains("\"kind\":\"stop\"") == true)
  }
}

/// How the agent starts, or says why not.
@Suite(.serialized) struct AgentStartTests {
  private func failure(_ source: ConfigurationSource) async -> AgentStartError? {
    do {
      let agent = try await Agent.start(source)
      await agent.stop()
      return nil
    } catch { return error }
  }

  @Test func oneAgentForEachState() async throws {
    let box = try await AgentBox.start()
    let error = try #require(await failure(try AgentBox.source(box.scratch)))
    #expect(error.exitStatus == 75)
    #expect(error.description.contains("is in use by another Skerry process (pid \(getpid()))"))
    #expect(await box.agent.answersItself())
    await box.stop()
    #expect(await failure(try AgentBox.source(box.scratch)) == nil)
  }

  @Test func aBadPolicyStopsItAtTheStartAndChangesNothingLater() async throws {
    let scratch = try Scratch()
    try DurableFile.makeDirectory(scratch.path + "/policies")
    let file = scratch.path + "/policies/roles.json5"
    try DurableFile.replace(file, with: Array("{version: 1, rolls: {}}".utf8))
    let error = try #require(await failure(try AgentBox.source(scratch)))
    #expect(error.exitStatus == 78)
    #expect(error.description == "\(file): rolls: unknown key; allowed: version, roles, bindings, forbid, separation")
    try DurableFile.remove(file)
    let agent = try await Agent.start(try AgentBox.source(scratch))
    try DurableFile.replace(file, with: Array("{version: 1, rolls: {}}".utf8))
    await agent.reload()
    #expect(await agent.answersItself())
    await agent.stop()
  }

  @Test func aStateThatIsNoFolderIsToldPlainly() async throws {
    let scratch = try Scratch()
    try DurableFile.replace(scratch.path + "/state", with: [])
    let error = try #require(await failure(try AgentBox.source(scratch)))
    #expect(error.exitStatus == 74)
    #expect(error.description.contains("/state"))
  }

  @Test func aDamagedKeyIsNeverReplaced() async throws {
    let scratch = try Scratch()
    #expect(await failure(try AgentBox.source(scratch)) == nil)
    let key = scratch.path + "/state/keys/device.key"
    try DurableFile.replace(key, with: Array("nonsense".utf8))
    let error = try #require(await failure(try AgentBox.source(scratch)))
    #expect(error.exitStatus == 74)
    #expect(error.description.contains("device.key"))
    #expect(try DurableFile.read(key) == Array("nonsense".utf8))
  }

  @Test func anAddressInUseIsToldPlainly() async throws {
    let box = try await AgentBox.start()
    let port = try #require(box.agent.tcpPort)
    let other = try Scratch()
    let error = try #require(await failure(try AgentBox.source(other, ["listen.tcp": "\"127.0.0.1:\(port)\""])))
    #expect(error.exitStatus == 78)
    #expect(error.description == "can't listen on 127.0.0.1:\(port): Address already in use")
    await box.stop()
  }
}
