import Models
import Testing
import Trust

@testable import Agent

@Suite struct OllamaRequestTests {
  private func body(_ request: InferenceRequest) throws -> JSONValue { try JSONValue(parsing: request.body) }

  @Test(
    arguments: [
      ("5m", 300), ("1h30m", 5400), ("300ms", 0.3), ("0", 0), ("90", 90), ("1.5s", 1.5), ("0s", 0),
    ] as [(String, Double)])
  func keepAliveIsATime(_ text: String, _ seconds: Double) throws {
    #expect(try KeepAlive(.string(text)) == .time(.milliseconds(Int64(seconds * 1000))))
  }

  @Test func keepAliveMayBeForEverOrWrong() throws {
    for value: JSONValue in [-1, "-1", "-1m", "-5s", .double(1e12)] { #expect(try KeepAlive(value) == .forever) }
    #expect(try KeepAlive(.double(0.5)) == .time(.milliseconds(500)))
    #expect(try KeepAlive(nil) == nil && KeepAlive(.null) == nil)
    for value: JSONValue in ["", "m", "5 m", "5x", "1h-3m", true, [], "٣m"] {
      #expect(throws: APIFailure.self) { try KeepAlive(value) }
    }
  }

  @Test func aContextComesBackAsItWas() throws {
    let talk: [JSONValue] = [["role": "user", "content": "grüße 👋"], ["role": "assistant", "content": ""]]
    let context = OllamaContext.encode(talk)
    #expect(try OllamaContext.decode(context) == talk)
    #expect(try OllamaContext.decode(nil).isEmpty && OllamaContext.decode([]).isEmpty)
    var numbers = try #require(context.array)
    for foreign: JSONValue in [[1, 2, 3], [.integer(1)], "x", ["a"]] {
      #expect(throws: APIFailure.self) { try OllamaContext.decode(foreign) }
    }
    for at in numbers.indices {
      let kept = numbers[at]
      for changed: JSONValue in [-1, 9_007_199_254_740_991, .integer(.max), .integer(.min), .double(0.5)]
      where changed != kept {
        numbers[at] = changed
        #expect(throws: APIFailure.self) { try OllamaContext.decode(.array(numbers)) }
      }
      numbers[at] = kept
    }
    #expect(throws: APIFailure.self) { try OllamaContext.decode(.array(numbers.dropLast())) }
  }

  @Test func schemasKeepTheOrderOfTheirKeys() throws {
    let bytes = #"{"model":"m","messages":[{"role":"user"}],"format":{"z":1,"a":{"y":2,"b":3}},"stream":false}"#
    let wanted = try OllamaRequest(.chat, Array(bytes.utf8)).inference
    #expect(String(decoding: wanted.body, as: UTF8.self).contains(#"{"z":1,"a":{"y":2,"b":3}}"#))
    #expect(try body(wanted)["messages"] == [["role": "user", "content": ""]])
  }

  @Test(arguments: [
    #"{"model":"m","prompt":"x","template":"{{ .Prompt }}"}"#, #"{"model":"m","prompt":"x","options":{"seed":"a"}}"#,
    #"{"model":"m","prompt":"x","raw":true,"system":"s"}"#, #"{"model":"m","prompt":"x","suffix":"y","context":[1]}"#,
    #"{"model":"m","prompt":"x","think":"very"}"#, #"{"model":"m","prompt":"x","width":5}"#,
    #"{"model":"m","prompt":"x","format":"xml"}"#, #"{"model":"m","prompt":"x","top_logprobs":21}"#,
    #"{"model":"","prompt":"x"}"#, #"{"prompt":"x"}"#, #"{"model":"m","prompt":5}"#, #"{"model":"m","stream":"no"}"#,
  ])
  func whatIsWrongIsRefused(_ text: String) {
    let error = #expect(throws: APIFailure.self) { try OllamaRequest(.generate, Array(text.utf8)) }
    #expect(error?.status == 400)
  }

  @Test func whatAModelCantIsRefusedAndWhatItCanIsShaped() throws {
    let thinker = ModelCapabilities(infill: .init(prefix: 5, suffix: 6, middle: 7), thinks: true, knowsTools: true)
    let plain = ModelCapabilities(infill: nil, thinks: false, knowsTools: false)
    func shaped(_ text: String, _ capabilities: ModelCapabilities) throws -> JSONValue {
      let wanted = try OllamaRequest(.generate, Array(text.utf8))
      return try body(wanted.shaped(wanted.inference, "m", capabilities))
    }
    #expect(
      try shaped(#"{"model":"m","prompt":"a","suffix":"b"}"#, thinker)["prompt"] == [5, "a", 6, "b", 7])
    #expect(
      try shaped(#"{"model":"m","prompt":"a","think":"low"}"#, thinker)["chat_template_kwargs"]
        == ["enable_thinking": true, "reasoning_effort": "low"])
    #expect(
      try shaped(#"{"model":"m","prompt":"a","think":false}"#, thinker)["chat_template_kwargs"]
        == ["enable_thinking": false])
    #expect(try shaped(#"{"model":"m","prompt":"a","think":false}"#, plain)["chat_template_kwargs"] == nil)
    for text in [#"{"model":"m","prompt":"a","suffix":"b"}"#, #"{"model":"m","prompt":"a","think":true}"#] {
      #expect(throws: APIFailure.self) { try shaped(text, plain) }
    }
  }

  @Test func toolCallsTravelAsObjectsHereAndAsTextThere() throws {
    let text = """
      {"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},
       {"role":"tool","tool_name":"f","content":"2"}],"tools":[{"type":"function","function":{"name":"f"}}]}
      """
    let wanted = try OllamaRequest(.chat, Array(text.utf8))
    let messages = try body(wanted.inference)["messages"]?.array ?? []
    #expect(messages.first?["tool_calls"]?.array?.first?["function"] == ["name": "f", "arguments": "{\"a\":1}"])
    #expect(messages.last == ["role": "tool", "name": "f", "content": "2"])
    #expect(wanted.inference.offersTools)
    let line = OllamaResponse(form: .chat, model: "m", unixTime: 0).toolCalls([
      ["function": ["name": "f", "arguments": "{\"a\":[1]}"]]
    ])
    #expect(
      line?["message"]?["tool_calls"] == [["function": ["name": "f", "arguments": ["a": [1]]]]]
        && line?["done"] == false)
  }
}

@Suite struct VariantRequestTests {
  private let variant = try? ModelVariant(
    name: "ada", base: "m", system: "be Ada", parameters: ["temperature": 0, "num_predict": 9, "num_ctx": 4096],
    messages: [.init(role: "user", content: "hi")])

  private func applied(_ text: String, _ endpoint: InferenceRequest.Endpoint = .chat) throws -> JSONValue {
    let wanted = try InferenceRequest(openAI: endpoint, Array(text.utf8))
    return try JSONValue(parsing: wanted.applying(try #require(variant)).body)
  }

  @Test func wordsComeBeforeTheCallersAndSettingsWhereItHasNone() throws {
    let said = try applied(#"{"model":"ada","messages":[{"role":"user","content":"x"}],"temperature":1}"#)
    #expect(said["messages"]?.array?.compactMap { $0["content"]?.string } == ["be Ada", "hi", "x"])
    #expect(said["temperature"] == 1 && said["max_tokens"] == 9 && said["num_ctx"] == nil)
    let other = try applied(
      #"{"model":"ada","messages":[{"role":"system","content":"no"},{"role":"user","content":"x"}],"max_completion_tokens":3}"#
    )
    #expect(other["messages"]?.array?.compactMap { $0["content"]?.string } == ["no", "hi", "x"])
    #expect(other["max_tokens"] == nil)
  }

  @Test func aPlainCompletionGetsTheSettingsAlone() throws {
    let said = try applied(#"{"model":"ada","prompt":"x"}"#, .completion)
    #expect(said["prompt"] == "x" && said["max_tokens"] == 9 && said["messages"] == nil)
    #expect(try applied(#"{"model":"ada","input":"x"}"#, .embedding) == ["model": "ada", "input": "x"])
  }
}
