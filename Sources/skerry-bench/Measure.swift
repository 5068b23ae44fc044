import Glibc
import Trust

/// `{"name","value","unit","against","ratio"}`: `against` is the peer or limit measured in the same run.
func emit(_ name: String, _ value: Double, _ unit: String, against: Double? = nil) {
  func number(_ value: Double) -> JSONValue { .double((value * 1_000_000).rounded() / 1_000_000) }
  let line: JSONValue = [
    "name": .string(name), "value": number(value), "unit": .string(unit),
    "against": against.map(number) ?? .null, "ratio": against.map { number($0 == 0 ? 0 : value / $0) } ?? .null,
  ]
  print(String(decoding: line.encoded(), as: UTF8.self))
  fflush(nil)
}

/// Seconds that `body` takes.
func seconds(_ body: () throws -> Void) rethrows -> Double {
  let clock = ContinuousClock()
  return try clock.measure(body).inSeconds
}

extension Duration {
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}

func median(_ values: [Double]) -> Double { percentile(values, 0.5) }

/// The value that this part of them does not exceed.
func percentile(_ values: [Double], _ part: Double) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))]
}

/// A folder that is gone afterwards. On the disk that `$TMPDIR` names (default `/var/tmp`), never in memory.
func withScratchFolder<T>(_ body: (String) async throws -> T) async throws -> T {
  let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/var/tmp"
  var template = Array("\(parent)/skerry-bench-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw BenchError(description: "no scratch folder in \(parent)") }
  let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer {
    for name in ["log.jsonl", "log.jsonl.reserve", "hashes", "roots", "head", "state", "sync"] {
      unlink("\(path)/\(name)")
    }
    rmdir(path)
  }
  return try await body(path)
}

struct BenchError: Error, CustomStringConvertible { let description: String }
