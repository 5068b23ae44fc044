import CommandLine
import Testing
import Trust
import Web

@testable import skerry

@Suite struct ChatTests {
  private func event(_ text: String) -> String { #"data: {"choices":[{"delta":{"content":"\#(text)"}}]}"# + "\n\n" }
  private let end = """
    data: {"choices":[{"delta":{},"finish_reason":"stop"}]}

    data: {"choices":[],"usage":{"completion_tokens":2}}

    data: [DONE]


    """
  private func agent(_ parts: [String?], _ body: (FakeAgent) async throws -> Void) async throws {
    try await withAgent(["POST /v1/chat/completions": pieces(parts, type: "text/event-stream")], body)
  }

  @Test func anAnswerIsPrintedAsItComes() async throws {
    let half = event("lo")
    try await agent([event("Hel"), String(half.prefix(20)), String(half.dropFirst(20)), end]) { agent in
      let said = try await agent.run("run", "m", "say", "hello", "--system", "be kind", "--max-tokens", "5")
      #expect(said.output == "Hello\n" && said.failure == nil)
      let body = agent.asked.first?.body
      #expect(
        body?["messages"] == [
          ["role": "system", "content": "be kind"], ["role": "user", "content": "say hello"],
        ])
      #expect(body?["max_tokens"] == 5 && body?["stream"] == true && body?["model"] == "m")
      let json = try await agent.run("run", "m", "hi", "--json").json
      #expect(
        json?["answer"] == "Hello" && json?["finishReason"] == "stop" && json?["usage"]?["completion_tokens"] == 2)
    }
  }

  @Test func theNextQuestionCarriesWhatWasSaid() async throws {
    try await agent([event("one"), end]) { agent in
      var chat = Chat(model: "m", system: "s")
      let api = API(base: "http://localhost", unixSocket: agent.socket) { agentFailure($0, socket: agent.socket) }
      _ = try await chat.ask("first", agent: api) { _ in }
      _ = try await chat.ask("second", agent: api) { _ in }
      #expect(
        agent.asked.last?.body?["messages"]?.array?.compactMap { $0["content"]?.string } == [
          "s", "first", "one", "second",
        ])
      chat.clear()
      _ = try await chat.ask("third", agent: api) { _ in }
      #expect(agent.asked.last?.body?["messages"]?.array?.compactMap { $0["content"]?.string } == ["s", "third"])
    }
  }

  @Test func anErrorInsideTheStreamIsTheCommandsError() async throws {
    let error = #"data: {"error":{"message":"the engine died","hint":"try again"}}"# + "\n\n"
    try await agent([event("Hel"), error]) { agent in
      let said = try await agent.run("run", "m", "hi")
      #expect(
        said.failure
          == CommandFailure("the engine died", hint: "try again", status: .tryLater))
    }
  }

  @Test func anAnswerThatBreaksOffIsNoAnswer() async throws {
    for parts in [[event("Hel")], [event("Hel"), nil], ["data: {broken\n\n"]] {
      try await agent(parts) { agent in
        let failure = try await agent.run("run", "m", "hi").failure
        #expect(failure?.status == .tryLater || failure?.status == .data)
      }
    }
  }

  @Test func aStoppedAnswerIsRememberedAsFarAsItCame() async throws {
    let slow: [String?] = [event("Hel")] + Array(repeating: ": still thinking\n\n", count: 5000)
    try await agent(slow) { agent in
      let api = API(base: "http://localhost", unixSocket: agent.socket) { agentFailure($0, socket: agent.socket) }
      let (words, heard) = AsyncStream.makeStream(of: String.self)
      let asking = Task {
        var chat = Chat(model: "m")
        do {
          _ = try await chat.ask("hi", agent: api) { heard.yield($0) }
          return (chat, false)
        } catch { return (chat, error is CancellationError) }
      }
      for await _ in words { break }
      asking.cancel()
      let (chat, wasCancelled) = await asking.value
      #expect(wasCancelled)
      #expect(chat.messages.compactMap { $0["content"]?.string } == ["hi", "Hel"])
    }
  }
}
