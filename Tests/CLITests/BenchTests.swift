import Testing
import Trust
import Web

@testable import skerry

@Suite struct BenchTests {
  private let completion = """
    data: {"choices":[{"text":"a","index":0}]}

    data: {"choices":[],"usage":{"prompt_tokens":64,"completion_tokens":11},"timings":{"prompt_n":64,"prompt_ms":32.0,"predicted_n":11,"predicted_ms":100.0}}

    data: [DONE]


    """

  private func agent(_ events: String, _ body: (FakeAgent) async throws -> Void) async throws {
    try await withAgent(
      [
        "POST /skerry/v1/models/m/load": answer(["ok": true]),
        "POST /v1/completions": pieces([events], type: "text/event-stream"),
        "GET /skerry/v1/status": answer([
          "engines": [
            ["model": "other:1.0.0", "kind": "generate", "memoryBytes": 1],
            ["model": "m:1.0.0", "kind": "generate", "memoryBytes": 209_715_200],
          ]
        ]),
      ], body)
  }

  @Test func speedsAreTheEnginesAndNothingIsRemembered() async throws {
    try await agent(completion) { agent in
      let said = try await agent.run("bench", "m", "--rounds", "2", "--generate", "11", "--parallel", "3", "--json")
      #expect(said.failure == nil)
      let tests = said.json?["tests"]?.array ?? []
      #expect(tests.map { $0.text("test") } == ["pp64", "tg11", "tg11 ×3"])
      #expect(tests[0]["avg_ts"]?.number == 2000 && tests[0]["stddev_ts"]?.number == 0)
      // The first token is not the generation's: its time belongs to the prompt.
      #expect(tests[1]["avg_ts"]?.number == 100)
      #expect((tests[2]["avg_ts"]?.number ?? 0) > 0 && tests[2]["n_parallel"] == 3)
      #expect(said.json?["memory_bytes"] == 209_715_200)

      let asked = agent.asked.filter { $0.line == "POST /v1/completions" }
      // Two to warm up, then 2 + 2 + 2 × 3.
      #expect(asked.count == 12)
      #expect(asked.allSatisfy { $0.body?["cache_prompt"] == false && $0.body?["ignore_eos"] == true })
      #expect(Set(asked.dropFirst(2).prefix(2).compactMap { $0.body?["prompt"]?.string }).count == 2)
    }
  }

  @Test func theTableHasARowForEachTest() async throws {
    try await agent(completion) { agent in
      let said = try await agent.run("bench", "m", "--rounds", "1")
      let rows = said.output.split(separator: "\n")
      #expect(rows.count == 4 && rows[1].contains("200.0 MiB") && rows[1].contains("2000.0 ± 0.0"))
    }
  }

  @Test func anEngineWithoutTimesIsNoMeasurement() async throws {
    try await agent("data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: [DONE]\n\n") { agent in
      let said = try await agent.run("bench", "m")
      #expect(said.failure?.status == .software && said.output.isEmpty)
    }
  }

  @Test func statisticsAreThoseOfASample() {
    let test = BenchReport.Test(
      name: "tg", promptTokens: 0, answerTokens: 1, parallel: 1, speeds: [2, 4, 4, 4, 5, 5, 7, 9],
      firstTokens: [3, 1, 2, 10])
    #expect(test.mean == 5 && abs(test.deviation - 2.138) < 0.001 && test.firstToken == 2.5)
  }
}
