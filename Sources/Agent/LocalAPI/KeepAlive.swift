import Trust

/// Ollama's `keep_alive`: how long a model stays in memory after its last answer. A number of seconds, or a length of time
/// as Go writes it (`5m`, `1h30m`, `300ms`); below zero means for ever, zero not at all.
enum KeepAlive: Sendable, Hashable {
  case forever
  case time(Duration)

  /// Nil when the member is absent or null. Throws an `APIFailure` of status 400.
  init?(_ value: JSONValue?) throws(APIFailure) {
    switch value {
    case nil, .null?: return nil
    case .string(let text)?:
      guard let nanoseconds = KeepAlive.nanoseconds(text) else { throw KeepAlive.wrong }
      self = KeepAlive(seconds: nanoseconds / 1e9)
    case let value?:
      guard let seconds = value.number else { throw KeepAlive.wrong }
      self = KeepAlive(seconds: seconds)
    }
  }

  private init(seconds: Double) {
    // A century is as good as for ever, and no sum with it overflows.
    self = seconds < 0 || !(seconds < 3.2e9) ? .forever : .time(.milliseconds(Int64(seconds * 1000)))
  }

  /// Nil: for ever.
  var duration: Duration? { if case .time(let duration) = self { duration } else { nil } }

  private static let wrong = APIFailure.badRequest(
    "\"keep_alive\" must be a number of seconds, or a time such as \"5m\" or \"1h30m\"", param: "keep_alive")

  /// https://pkg.go.dev/time#ParseDuration, and a bare number, which means seconds.
  private static func nanoseconds(_ text: String) -> Double? {
    var rest = Substring(text)
    let isNegative = rest.first == "-"
    if let sign = rest.first, sign == "-" || sign == "+" { rest.removeFirst() }
    if let seconds = number(rest) { return (isNegative ? -1 : 1) * seconds * 1e9 }
    var sum = 0.0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      let digits = rest.prefix { $0.isASCII && $0.isNumber || $0 == "." }
      guard let value = number(digits) else { return nil }
      rest.removeFirst(digits.count)
      let name = rest.prefix { !($0.isASCII && $0.isNumber) && $0 != "." }
      guard let unit = units[String(name)] else { return nil }
      rest.removeFirst(name.count)
      sum += value * unit
    }
    return isNegative ? -sum : sum
  }

  private static func number(_ text: Substring) -> Double? {
    guard text.contains(where: \.isNumber), text.allSatisfy({ $0.isASCII && $0.isNumber || $0 == "." }) else {
      return nil
    }
    return Double(text)
  }

  private static let units: [String: Double] = [
    "ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9,
  ]
}
