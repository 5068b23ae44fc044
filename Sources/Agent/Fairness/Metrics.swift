import Fleet
import Host
import Synchronization
import Trust

/// What `/metrics` counts. Labels are bounded: models and roles that the box has, outcomes, statuses; never a caller.
final class APICounters: Sendable {
  /// One inference that is over.
  struct Inference: Sendable {
    var model = ""
    var role = ""
    var outcome: InferenceRecord.Outcome
    var usage = EngineUsage()
    var queue: Duration?
    var firstToken: Duration?
    var total = Duration.zero
  }

  private struct Series: Hashable {
    let model: String
    let role: String
  }

  private struct State {
    var requests: [Series: [InferenceRecord.Outcome: Int]] = [:]
    var tokens: [Series: (prompt: Int, cached: Int, completion: Int)] = [:]
    var queue: [String: Histogram] = [:]
    var firstToken: [String: Histogram] = [:]
    var total: [String: Histogram] = [:]
    var responses: [Int: Int] = [:]
    var limited: [String: Int] = [:]
    var records: [String: Int] = [:]
    var engineEvents: [String: Int] = [:]
    var models: Set<String> = []
    var roles: Set<String> = []
  }
  private let state = Mutex(State())

  /// More models or roles than these go by the name `other`.
  static let mostNames = 64

  func count(_ inference: Inference) {
    state.withLock { state in
      let model = APICounters.bounded(inference.model, &state.models)
      let series = Series(model: model, role: APICounters.bounded(inference.role, &state.roles))
      state.requests[series, default: [:]][inference.outcome, default: 0] += 1
      state.tokens[series, default: (0, 0, 0)].prompt += inference.usage.promptTokens
      state.tokens[series, default: (0, 0, 0)].cached += inference.usage.cachedTokens
      state.tokens[series, default: (0, 0, 0)].completion += inference.usage.completionTokens
      if let queue = inference.queue { state.queue[model, default: Histogram()].add(queue) }
      if let first = inference.firstToken { state.firstToken[model, default: Histogram()].add(first) }
      state.total[model, default: Histogram()].add(inference.total)
    }
  }

  func count(status: Int) { state.withLock { $0.responses[status, default: 0] += 1 } }

  /// A request was answered 429. `limit` and `scope` are words of the program.
  func limited(_ limit: String, _ scope: String) {
    state.withLock { $0.limited["limit=\"\(limit)\",scope=\"\(scope)\"", default: 0] += 1 }
  }

  /// Something went on record.
  func recorded(_ kind: AuditKind, _ fields: [String: JSONValue]) {
    state.withLock { state in
      state.records[kind.rawValue, default: 0] += 1
      if kind == .model, let event = fields["event"]?.string { state.engineEvents[event, default: 0] += 1 }
    }
  }

  private static func bounded(_ name: String, _ known: inout Set<String>) -> String {
    if known.contains(name) { return name }
    guard known.count < mostNames else { return "other" }
    known.insert(name)
    return name
  }

  /// In Prometheus' text format, version 0.0.4.
  func write(to text: inout MetricsText) {
    state.withLock { state in
      let series = state.requests.sorted { ($0.key.model, $0.key.role) < ($1.key.model, $1.key.role) }
      text.begin("skerry_inferences_total", .counter, "Inferences that are over, by how they ended.")
      for (series, outcomes) in series {
        for (outcome, count) in outcomes.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
          text.add(
            [("model", series.model), ("role", series.role), ("outcome", outcome.rawValue)], Double(count))
        }
      }
      let tokens = state.tokens.sorted { ($0.key.model, $0.key.role) < ($1.key.model, $1.key.role) }
      text.begin("skerry_prompt_tokens_total", .counter, "Tokens of prompts, those from the cache included.")
      for (series, count) in tokens { text.add(labels(series), Double(count.prompt)) }
      text.begin("skerry_cached_tokens_total", .counter, "Tokens of prompts that the engine still had.")
      for (series, count) in tokens { text.add(labels(series), Double(count.cached)) }
      text.begin("skerry_completion_tokens_total", .counter, "Tokens that were generated.")
      for (series, count) in tokens { text.add(labels(series), Double(count.completion)) }
      for (name, help, all) in [
        ("skerry_queue_seconds", "From a request's arrival until its turn at an engine.", state.queue),
        ("skerry_first_token_seconds", "From a request's arrival to the first piece of its answer.", state.firstToken),
        ("skerry_inference_seconds", "From a request's arrival to the end of its answer.", state.total),
      ] {
        text.begin(name, .histogram, help)
        for (model, histogram) in all.sorted(by: { $0.key < $1.key }) {
          histogram.write(name, [("model", model)], to: &text)
        }
      }
      text.begin("skerry_rate_limited_total", .counter, "Requests answered 429, by the limit that they met.")
      for (labels, count) in state.limited.sorted(by: { $0.key < $1.key }) { text.add(written: labels, Double(count)) }
      text.begin("skerry_audit_records_total", .counter, "Records written since the start, by kind.")
      for (kind, count) in state.records.sorted(by: { $0.key < $1.key }) { text.add([("kind", kind)], Double(count)) }
      text.begin("skerry_engine_starts_total", .counter, "Engines that were started.")
      text.add(Double(state.engineEvents["load"] ?? 0))
      text.begin("skerry_engine_deaths_total", .counter, "Engines that ended by themselves and were not asked to.")
      text.add(Double(state.engineEvents["engine_died"] ?? 0))
      text.begin("skerry_http_responses_total", .counter, "Responses of the local API, by status.")
      for (status, count) in state.responses.sorted(by: { $0.key < $1.key }) {
        text.add([("status", String(status))], Double(count))
      }
    }
  }

  private func labels(_ series: Series) -> [(String, String)] { [("model", series.model), ("role", series.role)] }
}

/// Durations counted by how long they were.
struct Histogram: Sendable {
  /// Upper bounds in seconds: from an answer out of a cache to a long one on a slow box.
  static let bounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]
  private var counts = [Int](repeating: 0, count: Histogram.bounds.count)
  private(set) var count = 0
  private(set) var sum = 0.0

  mutating func add(_ duration: Duration) {
    let seconds = duration / .seconds(1)
    count += 1
    sum += seconds
    if let at = Histogram.bounds.firstIndex(where: { seconds <= $0 }) { counts[at] += 1 }
  }

  func write(_ name: String, _ labels: [(String, String)], to text: inout MetricsText) {
    var below = 0
    for (bound, count) in zip(Histogram.bounds, counts) {
      below += count
      text.add(labels + [("le", MetricsText.number(bound))], Double(below), suffix: "_bucket")
    }
    text.add(labels + [("le", "+Inf")], Double(count), suffix: "_bucket")
    text.add(labels, sum, suffix: "_sum")
    text.add(labels, Double(count), suffix: "_count")
  }
}

/// Writes Prometheus' text format, version 0.0.4.
struct MetricsText: Sendable {
  enum Kind: String, Sendable { case counter, gauge, histogram }
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  private(set) var text = ""
  private var name = ""

  /// Begins a metric; the samples that follow are its.
  mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
    self.name = name
    text += "# HELP \(name) \(MetricsText.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
  }

  mutating func add(_ labels: [(String, String)], _ value: Double, suffix: String = "") {
    add(
      written: labels.map { "\($0.0)=\"\(MetricsText.escaped($0.1, quotes: true))\"" }.joined(separator: ","),
      value, suffix: suffix)
  }

  mutating func add(written labels: String, _ value: Double, suffix: String = "") {
    text += "\(name)\(suffix)\(labels.isEmpty ? "" : "{\(labels)}") \(MetricsText.number(value))\n"
  }

  mutating func add(_ value: Double) { add(written: "", value) }

  /// A gauge with one sample.
  mutating func gauge(_ name: String, _ help: String, _ value: Double) {
    begin(name, .gauge, help)
    add(value)
  }

  static func number(_ value: Double) -> String { Int64(exactly: value).map(String.init) ?? "\(value)" }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var made = ""
    for character in text.unicodeScalars {
      switch character {
      case "\\": made += "\\\\"
      case "\n": made += "\\n"
      case "\"" where quotes: made += "\\\""
      default: made.unicodeScalars.append(character)
      }
    }
    return made
  }
}
