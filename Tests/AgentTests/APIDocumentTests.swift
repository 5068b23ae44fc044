import Testing
import Trust

@testable import Agent

/// The document can't drift from what is answered: each has what the other has.
@Suite(.serialized, .enabled(if: RealEngine.isThere)) struct APIDocumentTests {
  @Test func everyRouteIsInTheDocumentAndNothingElse() async throws {
    let box = try await AgentBox.start()
    let answered = Set(box.agent.routes.map { "\($0.method) \($0.pattern)" })
    let described = APIDocument.operations.map { "\($0.method) \($0.path)" }
    #expect(answered.subtracting(described).isEmpty, "answered, and not described")
    #expect(Set(described).subtracting(answered).isEmpty, "described, and not answered")
    #expect(described.count == Set(described).count, "described twice")
    let ids = APIDocument.operations.map(\.id)
    #expect(ids.count == Set(ids).count, "two operations have one name")

    let served = try await box.ask("GET", "/openapi.json", token: "")
    #expect(served.status == 200)
    #expect(served.json["openapi"] == "3.1.0")
    #expect(served.json["paths"]?.object?.count == Set(APIDocument.operations.map(\.path)).count)
    await box.stop()
  }

  @Test func everyReferenceLeadsSomewhere() {
    let document = APIDocument.make()
    var references: [String] = []
    collect(document, &references)
    #expect(references.count > 20)
    for reference in references {
      let found = reference.split(separator: "/").dropFirst().reduce(Optional(document)) { $0?[String($1)] }
      #expect(found != nil && found != .null, "\(reference)")
    }
  }

  private func collect(_ value: JSONValue, _ references: inout [String]) {
    if let reference = value["$ref"]?.string { references.append(reference) }
    for element in value.array ?? value.object.map({ Array($0.values) }) ?? [] { collect(element, &references) }
  }
}

@Suite struct ToolCallReaderTests {
  private func read(_ text: String, by size: Int) -> (content: String, name: String?, arguments: String, called: Bool) {
    var reader = ToolCallReader()
    var (content, name, arguments) = ("", String?.none, "")
    let scalars = Array(text.unicodeScalars)
    for start in stride(from: 0, to: scalars.count, by: size) {
      var piece = String.UnicodeScalarView()
      piece.append(contentsOf: scalars[start..<min(start + size, scalars.count)])
      let delta = reader.read(["content": .string(String(piece))])
      content += delta["content"]?.string ?? ""
      for call in delta["tool_calls"]?.array ?? [] {
        name = call["function"]?["name"]?.string ?? name
        arguments += call["function"]?["arguments"]?.string ?? ""
      }
    }
    return (content, name, arguments, reader.hasCalled)
  }

  @Test(arguments: [1, 2, 3, 7, 1000])
  func callsAndAnswersAreReadHoweverTheyCome(_ size: Int) {
    let call = read(#" {"tool_call" : {"name":"f","arguments": {"a":"}\"","b":[1,{}]}} }  "#, by: size)
    #expect(call.name == "f" && call.arguments == #"{"a":"}\"","b":[1,{}]}"# && call.called && call.content.isEmpty)
    let answer = read(#"{"response":"a\"b\\\n\u00e9\ud83d\ude00 é"} and more"#, by: size)
    #expect(answer.content == "a\"b\\\né\u{1F600} é" && answer.name == nil && !answer.called)
    let plain = read("Just text {", by: size)
    #expect(plain.content == "Just text {" && !plain.called)
    let other = read(#"{"tool_call": 7}"#, by: size)
    #expect(other.content == #"{"tool_call": 7}"# && !other.called)
    let cut = read(#"{"tool_call":{"name":"f","arguments":{"a":"#, by: size)
    #expect(cut.name == "f" && cut.arguments == #"{"a":"# && !cut.called)
  }

  @Test func whatAToolNeedsOfDefinitionsIsAtTheRoot() throws {
    let request = try InferenceRequest(
      openAI: .chat,
      Array(
        #"""
        {"model":"m","messages":[{"role":"user","content":"x"}],"tool_choice":"required","tools":[{"type":"function",
        "function":{"name":"f","parameters":{"type":"object","properties":{"z":{"$ref":"#/$defs/A"},"a":{"type":"string"}},
        "$defs":{"A":{"type":"integer"}}}}}]}
        """#.utf8))
    let schema = try JSONValue(parsing: request.body)["response_format"]?["json_schema"]?["schema"]
    #expect(schema?["$defs"]?["A"]?["type"] == "integer")
    #expect(schema?["properties"]?["tool_call"]?["properties"]?["name"]?["const"] == "f")
    let text = String(decoding: request.body, as: UTF8.self)
    #expect(!text.contains("\"tools\"") && text.contains(##""z":{"$ref":"#/$defs/A"},"a""##))
    #expect(request.shape.writesCalls && !request.offersTools)
  }
}
