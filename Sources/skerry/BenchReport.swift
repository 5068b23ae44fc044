import CommandLine
import Trust

/// What `skerry bench` found.
struct BenchReport: Sendable {
  /// One kind of request; speeds in tokens a second, times in seconds.
  struct Test: Sendable {
    let name: String
    let promptTokens: Int
    let answerTokens: Int
    /// How many answers were under way at the same time; the speed is of all of them together.
    let parallel: Int
    let speeds: [Double]
    let firstTokens: [Double]

    var mean: Double { BenchReport.mean(speeds) }
    /// Of the sample, as llama-bench computes it; 0 for a single round.
    var deviation: Double {
      guard speeds.count > 1 else { return 0 }
      let mean = mean
      let squares = speeds.map { ($0 - mean) * ($0 - mean) }.reduce(0, +)
      return (squares / Double(speeds.count - 1)).squareRoot()
    }
    var firstToken: Double { BenchReport.median(firstTokens) }

    /// The names of llama-bench's JSON, times in seconds.
    var json: JSONValue {
      [
        "test": .string(name), "n_prompt": .integer(Int64(promptTokens)), "n_gen": .integer(Int64(answerTokens)),
        "n_parallel": .integer(Int64(parallel)), "avg_ts": .double(mean), "stddev_ts": .double(deviation),
        "samples_ts": .array(speeds.map { .double($0) }), "first_token_seconds": .double(firstToken),
      ]
    }
  }

  let model: String
  let loadSeconds: Double
  var tests: [Test] = []
  var memoryBytes: UInt64?

  init(model: String, loadSeconds: Double) {
    self.model = model
    self.loadSeconds = loadSeconds
  }

  static func mean(_ values: [Double]) -> Double {
    values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
  }

  static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard let middle = sorted.indices.last.map({ $0 / 2 }) else { return 0 }
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle] + sorted[middle + 1]) / 2
  }

  var json: JSONValue {
    [
      "model": .string(model), "load_seconds": .double(loadSeconds), "tests": .array(tests.map(\.json)),
      "memory_bytes": memoryBytes.map { .integer(Int64(clamping: $0)) } ?? .null,
    ]
  }

  var text: String {
    var table = Table(
      "model", "memory", "test", "tokens/s", "first token", right: ["memory", "tokens/s", "first token"])
    for test in tests {
      table.add(
        model, memoryBytes.map { Readable.bytes($0) } ?? "", test.name,
        "\(Readable.fixed(test.mean)) ± \(Readable.fixed(test.deviation))",
        "\(Readable.fixed(test.firstToken * 1000)) ms")
    }
    return table.render() + "loaded in \(Readable.fixed(loadSeconds)) s\n"
  }
}
