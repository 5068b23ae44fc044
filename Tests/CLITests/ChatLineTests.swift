import CommandLine
import Testing
import Trust

@testable import skerry

@Suite struct ChatLineTests {
  private func prompts(_ lines: [String]) -> [String] {
    var reader = PromptReader()
    return lines.compactMap { reader.take($0) }
  }

  @Test func severalLinesAreOnePrompt() {
    #expect(prompts(["a", "b"]) == ["a", "b"])
    #expect(prompts(["\"\"\"one", "two", "three\"\"\"", "x"]) == ["one\ntwo\nthree", "x"])
    #expect(prompts(["\"\"\"", "one\\", "", "\"\"\""]) == ["one\\\n"])
    #expect(prompts(["\"\"\"whole\"\"\""]) == ["whole"])
    #expect(prompts(["a\\", "b\\", "c", "d"]) == ["a\nb\nc", "d"])
    var reader = PromptReader()
    _ = reader.take("\"\"\"one")
    #expect(reader.isOpen)
    reader.cancel()
    #expect(!reader.isOpen && reader.take("two") == "two")
  }

  @Test func commandsAreRead() throws {
    #expect(try ChatCommand("hello /bye") == nil)
    #expect(try ChatCommand("/bye") == .leave && ChatCommand("/clear") == .clear && ChatCommand("/show") == .show)
    #expect(try ChatCommand("/system be kind ") == .system("be kind") && ChatCommand("/system") == .system(nil))
    #expect(try ChatCommand("/set temperature 0.5") == .set(name: "temperature", value: .double(0.5)))
    #expect(try ChatCommand("/set num_predict 9") == .set(name: "max_tokens", value: 9))
    #expect(try ChatCommand("/set stop the end") == .set(name: "stop", value: "the end"))
    #expect(try ChatCommand("/set seed") == .set(name: "seed", value: .null))
  }

  @Test(arguments: ["/nothing", "/set", "/set tempo 1", "/set num_ctx 5", "/set seed x", "/"])
  func whatIsNoCommandIsSaid(_ line: String) {
    #expect(throws: ChatCommand.Fault.self) { try ChatCommand(line) }
  }

  @Test func wordsForTheSystemAndSettingsChangeOnTheWay() {
    var chat = Chat(model: "m", system: "one")
    chat.setSystem("two")
    chat.set("seed", 3)
    #expect(chat.messages == [["role": "system", "content": "two"]] && chat.settings["seed"] == 3)
    chat.set("seed", .null)
    chat.setSystem(nil)
    #expect(chat.messages.isEmpty && chat.settings.isEmpty)
  }

  @Test func enginesAreATable() async throws {
    let engines: JSONValue = [
      "engines": [
        [
          "model": "smol:1", "sha256": "0123456789abcdef", "kind": "generate", "engine": "llama.cpp", "state": "ready",
          "memoryBytes": 209_715_200, "contextTokens": 2048, "requests": 1, "slots": 4, "loadedSeconds": 75,
          "expiresInSeconds": 290,
        ],
        [
          "model": "other:2", "sha256": "fedcba98765432", "kind": "embed", "state": "failed", "requests": 0,
          "loadedSeconds": 0,
        ],
      ]
    ]
    try await withAgent(["GET /skerry/v1/engines": answer(engines)]) { agent in
      let said = try await agent.run("ps").output
      #expect(
        said == """
          MODEL    DIGEST        KIND      ENGINE     STATE      MEMORY  CONTEXT  BUSY  UP      UNTIL
          smol:1   0123456789ab  generate  llama.cpp  ready   200.0 MiB     2048   1/4  1m 15s  in 4m 50s
          other:2  fedcba987654  embed     -          failed          -        -     0  0s      -

          """)
      #expect(try await agent.run("ps", "--json").json == engines)
    }
    #expect(enginesText([]).hasPrefix("no engine runs"))
  }
}
