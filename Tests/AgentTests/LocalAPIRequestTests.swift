import Testing
import Trust

@testable import Agent

@Suite struct LocalAPIRequestTests {
  private func chat(_ text: String) throws -> InferenceRequest { try InferenceRequest(openAI: .chat, Array(text.utf8)) }

  private func failure(_ endpoint: InferenceRequest.Endpoint, _ text: String) -> String {
    do {
      _ = try InferenceRequest(openAI: endpoint, Array(text.utf8))
      return "accepted"
    } catch { return "\(error.status) \(error.message)" }
  }

  @Test func theBodyGoesThroughAsItWasWritten() throws {
    let text =
      #"{"z": 1.10, "model":"a", "messages":[{"role":"user","content":"é \" }"}], "stream":false, "a": 18446744073709551615 } "#
    let sent = try chat(text).upstream(alias: "smol")
    let expected =
      #"{"z": 1.10, "model":"a", "messages":[{"role":"user","content":"é \" }"}], "stream":false, "a": 18446744073709551615 ,"#
      + #""model":"smol","stream":true,"stream_options":{"include_usage":true}}"#
    #expect(String(decoding: sent, as: UTF8.self) == expected)
  }

  @Test func whatIsAskedForIsKept() throws {
    let request = try chat(
      #"{"model":"a","messages":[{"role":"assistant","content":null}],"stream":true,"stream_options":{"include_usage":true}}"#
    )
    #expect(request.wantsStream && request.wantsUsage && request.model == "a")
    #expect(try !chat(#"{"model":"a","messages":[{"role":"user","content":"x"}]}"#).wantsStream)
  }

  @Test(arguments: [
    ("", "400 the request has no body"), ("[]", "400 the body must be a JSON object"),
    (#"{"messages":[]}"#, "400 \"model\" is missing; it must be the name of a model, a string"),
    (#"{"model":7}"#, "400 \"model\" must be the name of a model, a string"),
    (#"{"model":"a"}"#, "400 \"messages\" is missing; it must be an array of at least one {role, content}"),
    (#"{"model":"a","messages":[]}"#, "400 \"messages\" must be an array of at least one {role, content}"),
    (
      #"{"model":"a","messages":[{"role":"user","content":"x"},7]}"#, "400 \"messages[1]\" must be {role, content}"
    ),
    (#"{"model":"a","messages":[{"role":"user"}]}"#, "400 \"messages[0].content\" is missing; it must be"),
    (
      #"{"model":"a","messages":[{"role":"user","content":7}]}"#,
      "400 \"messages[0].content\" must be a string or an array of parts"
    ),
    (
      #"{"model":"a","messages":[{"role":"u","content":"x"}]}"#,
      #"400 "messages[0].role" must be one of "system", "developer", "user", "assistant", "tool""#
    ),
    (
      #"{"model":"a","messages":[{"role":"user","content":[{"type":"input_audio"}]}]}"#,
      #"400 "messages[0].content[0].type" must be one of "text", "image_url", "refusal""#
    ),
    (
      #"{"model":"a","messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
      #"400 "messages[0].content[0].text" is missing; it must be a string"#
    ),
  ])
  func wrongTypesAreNamed(_ text: String, _ expected: String) {
    #expect(failure(.chat, text).hasPrefix(expected))
  }

  @Test(arguments: [
    (#""stream":"yes""#, "stream", "must be true or false"),
    (#""max_tokens":"9""#, "max_tokens", "must be a whole number"),
    (#""max_tokens":0"#, "max_tokens", "must be a whole number from 1"),
    (#""temperature":"hot""#, "temperature", "must be a number"),
    (#""temperature":2.5"#, "temperature", "must be a number from 0.0 to 2.0"),
    (#""stop":[7]"#, "stop[0]", "must be a string"),
    (#""stop":7"#, "stop", "must be a string or an array of strings"),
    (#""n":0"#, "n", "must be a whole number from 1 to 128"),
    (#""audio":{"voice":"x"}"#, "audio", "is refused: no model here speaks"),
    (#""store":true"#, "store", "must be false: answers are not kept on this box"),
    (#""id_slot":0"#, "id_slot", "is refused: it is a setting of the engine"),
    (#""response_format":{"type":"xml"}"#, "response_format.type", "must be one of"),
    (#""response_format":{"type":"json_schema"}"#, "response_format.json_schema", "is missing"),
    (#""tools":[{"type":"banana"}]"#, "tools[0].type", "must be \"function\""),
    (#""top_logprobs":3"#, "top_logprobs", "needs \"logprobs\": true"),
    (#""stream_options":{}"#, "stream_options", "is only for answers that are streamed"),
    (#""tool_choice":"required""#, "tool_choice", "needs \"tools\""),
    (
      #""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"g"}}"#,
      "tool_choice", "names a tool that"
    ),
  ])
  func whatCantBeHonouredIsRefusedByItsName(_ member: String, _ param: String, _ expected: String) {
    do {
      _ = try chat(#"{"model":"a","messages":[{"role":"user","content":"x"}],"# + member + "}")
      Issue.record("\(member) was accepted")
    } catch let error as APIFailure {
      #expect(error.status == 400 && error.param == param)
      #expect(error.message.contains(expected), "\(error.message)")
      #expect(Dialect.openAI.body(error)["error"]?["param"] == .string(param))
    } catch { Issue.record(error) }
  }

  @Test func aToolThatIsToBeCalledIsTheOnlyOneAndKeepsItsSchema() throws {
    let request = try chat(
      #"{"model":"a","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f"}},"#
        + #"{"type":"function","function":{"name":"g","parameters":{"z":1.50,"a":[{"y":"}","b":2}]}}}],"#
        + #""tool_choice":{"type":"function","function":{"name":"g"}},"seed":1}"#)
    let sent = String(decoding: request.body, as: UTF8.self)
    #expect(sent.contains(#""arguments":{"z":1.50,"a":[{"y":"}","b":2}],"type":"object"}"#), "\(sent)")
    #expect(!sent.contains(#""name":"f""#) && !sent.contains("tool_choice") && sent.contains(#""seed":1"#))
    #expect(request.shape.writesCalls)
  }

  @Test func imagesAreSeenWhereverTheyStand() throws {
    let request = try chat(
      #"{"model":"a","messages":[{"role":"user","content":"x"},{"role":"user","content":[{"type":"text","text":"a"},"#
        + #"{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]}"#)
    #expect(request.image == "messages[1].content[1]")
  }

  /// The engine takes the last of two equal keys: had we read the first, the audit record would be of another prompt than
  /// the one that was answered.
  @Test(arguments: [
    (
      #"{"model":"a","messages":[{"role":"user","content":"x"}],"messages":[{"role":"user","content":"y"}]}"#,
      "messages"
    ),
    (#"{"model":"a","messages":[{"role":"u","content":"x","content":"y"}]}"#, "content"),
    (
      #"{"model":"a","messages":[{"role":"user","content":"x"}],"\u006dessages":[{"role":"u","content":"y"}]}"#,
      "messages"
    ),
    (#"{"model":"a","messages":[{"role":"user","content":"x"}],"x":{"a":[{"b":1}],"c":"}","a":2}}"#, "a"),
  ])
  func aKeyThatStandsTwiceIsRefused(_ text: String, _ key: String) {
    let told = failure(.chat, text)
    #expect(told.hasPrefix("400 the body is no JSON") && told.contains("the key \"\(key)\" stands twice"))
  }

  @Test func equalKeysOfDifferentObjectsAreFine() {
    let text =
      #"{"model":"a","messages":[{"role":"user","content":"role\",\"role"},{"role":"user","content":"role"}],"#
      + #""x":{"role":{"role":{}},"model":[]}}"#
    #expect(failure(.chat, text) == "accepted")
  }

  @Test func brokenJSONIsABadRequest() {
    for text in ["{", "{\"model\":", "nonsense", "\u{0}"] {
      #expect(failure(.chat, text).hasPrefix("400 the body is no JSON"))
    }
    #expect(
      failure(.completion, #"{"model":"a"}"#)
        == "400 \"prompt\" is missing; it must be a string, an array of strings, an array of tokens or an array of such arrays"
    )
    #expect(failure(.embedding, #"{"model":"a","input":[]}"#).hasPrefix("400 \"input\" must be"))
  }

  @Test func ollamaRequestsAreTranslated() throws {
    let request = try OllamaRequest(
      .chat,
      Array(
        #"""
        {"model":"smol:latest","messages":[{"role":"user","content":"hi"},
          {"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]}],
         "format":"json","options":{"num_predict":7,"temperature":0,"num_ctx":9}}
        """#.utf8))
    #expect(request.inference.model == "smol")
    #expect(request.inference.wantsStream)
    let body = try JSONValue(parsing: request.inference.body)
    #expect(body["max_tokens"] == 7)
    #expect(body["temperature"] == 0)
    #expect(body["num_ctx"] == nil)
    #expect(body["response_format"]?["type"] == "json_object")
    #expect(body["messages"]?.array?[1]["tool_calls"]?.array?[0]["function"]?["arguments"] == #"{"x":1}"#)
    let raw = try OllamaRequest(.generate, Array(#"{"model":"m","prompt":"p","raw":true,"stream":false}"#.utf8))
    #expect(raw.inference.endpoint == .completion)
    #expect(!raw.inference.wantsStream)
    #expect(try OllamaRequest(.generate, Array(#"{"model":"m"}"#.utf8)).isLoadOnly)
    #expect(throws: APIFailure.self) { try OllamaRequest(.chat, Array(#"{"model":"m","options":[]}"#.utf8)) }
    #expect(throws: APIFailure.self) { try OllamaRequest(.chat, Array(#"{"model":"m","messages":7}"#.utf8)) }
  }
}

@Suite struct EngineEventTests {
  private let stream =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}],\"id\":\"x\"}\n\n"
    + ": ping\n\n"
    + "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"say \\\"usage\\\":{ \"}}],\"id\":\"x\"}\n\n"
    + "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"length\",\"delta\":{}}],\"id\":\"x\"}\n\n"
    + "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"timings\":{\"prompt_ms\":1.5}}\n\n"
    + "data: [DONE]\n\n"

  @Test(arguments: [1, 2, 3, 7, 64, 10_000])
  func eventsAreTheSameHoweverTheBytesArrive(_ size: Int) throws {
    var splitter = EngineEventSplitter()
    var events: [EngineEvent] = []
    let bytes = Array(stream.utf8)
    for start in stride(from: 0, to: bytes.count, by: size) {
      events += try splitter.push(Array(bytes[start..<min(start + size, bytes.count)]))
    }
    #expect(events.map(\.kind) == [.piece, .ping, .piece, .piece, .usage(isBare: true), .done])
    #expect(events.flatMap(\.bytes) == bytes)
    let usage = EngineUsage(chunk: try #require(events[4].chunk))
    #expect(usage?.promptTokens == 3 && usage?.completionTokens == 2 && usage?.promptMilliseconds == 1.5)
  }

  @Test func chunksMakeTheWholeAnswer() throws {
    var splitter = EngineEventSplitter()
    var whole = Aggregation(.chat)
    for event in try splitter.push(Array(stream.utf8)) {
      if let chunk = event.chunk { whole.add(chunk) }
    }
    let response = whole.response
    #expect(response["object"] == "chat.completion")
    #expect(response["id"] == "x")
    let choice = try #require(response["choices"]?.array?.first)
    #expect(choice["message"]?["content"] == "say \"usage\":{ ")
    #expect(choice["message"]?["role"] == "assistant")
    #expect(choice["finish_reason"] == "length")
    #expect(response["usage"]?["completion_tokens"] == 2)
  }

  @Test func toolCallsComeTogether() throws {
    var whole = Aggregation(.chat)
    for arguments in ["{\\\"x\\\"", ":1}"] {
      whole.add(
        try JSONValue(
          parsing: Array(
            "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\(arguments)\"}}]}}]}"
              .utf8)))
    }
    #expect(whole.toolCalls.first?["function"]?["arguments"] == "{\"x\":1}")
    #expect(whole.response["choices"]?.array?.first?["message"]?["content"] == .null)
  }

  @Test func anEnginesAbsurdCountsEndNothing() throws {
    let chunk = try JSONValue(
      parsing: Array(
        #"{"usage":{"prompt_tokens":9223372036854775807,"completion_tokens":-9223372036854775808},"#.utf8)
        + Array(#""timings":{"prompt_ms":1e300,"predicted_ms":-1e300}}"#.utf8))
    let usage = try #require(EngineUsage(chunk: chunk))
    let counters = APICounters()
    for _ in 0..<2 {
      counters.count(APICounters.Inference(model: "m", role: "chat", outcome: .completed, usage: usage))
    }
    let line = OllamaResponse(form: .chat, model: "m", unixTime: 0).last(
      text: "", thinking: "", calls: [], reason: nil, usage: usage, total: .zero, load: .zero)
    #expect(line["eval_count"] == 0 && line["eval_duration"] == 0)
    #expect((line["prompt_eval_duration"]?.integer ?? 0) > 0)
  }

  @Test func anEventWithoutAnEndIsRefused() {
    var splitter = EngineEventSplitter()
    #expect(throws: APIFailure.self) {
      for _ in 0..<20 { _ = try splitter.push([UInt8](repeating: 0x41, count: 1 << 20)) }
    }
  }
}
