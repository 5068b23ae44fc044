import Glibc

/// Records as a busy box writes them, decisions and inferences by turns, in the form of `audit/log.jsonl`: on standard
/// output, many at a time, so that a log of ten million is there in a minute. One every two seconds up to now.
enum AuditRecords {
  static func write(_ count: Int) throws {
    let start = (time(nil) - 2 * count) * 1000
    var bytes: [UInt8] = []
    bytes.reserveCapacity(1 << 20)
    for index in 0..<count {
      bytes += record(index, t: start + index * 2000).utf8
      if bytes.count > 1 << 19 || index == count - 1 {
        try flush(bytes)
        bytes.removeAll(keepingCapacity: true)
      }
    }
  }

  /// A thousand subjects, eight models; one of every hundred thousand records is by `token:rare`.
  private static func record(_ index: Int, t: Int) -> String {
    let actor = index % 100_000 == 77 ? "token:rare" : "token:app-\(index / 2 % 1000)"
    let model = "model-\(index / 2 % 8)"
    if index.isMultiple(of: 2) {
      return #"{"actor":"\#(actor)","allowed":true,"kind":"decision","n":\#(index),"resource":"model:\#(model)","#
        + #""role":"chat","rule":"chat allows infer on model:*","t":\#(t),"v":2,"verb":"infer"}"# + "\n"
    }
    let digest = String(repeating: "0123456789abcdef", count: 4)
    return
      #"{"actor":"\#(actor)","api":"openai","cachedTokens":0,"completionTokens":\#(index % 512),"engine":"llama.cpp","#
      + #""kind":"inference","milliseconds":\#(index % 9000),"model":"\#(model)","n":\#(index),"outcome":"completed","#
      + #""prompt":"hmac-sha256:\#(digest)","promptTokens":\#(index % 2048),"role":"chat","sha256":"\#(digest)","#
      + #""t":\#(t),"v":2,"version":"1.0.0"}"# + "\n"
  }

  private static func flush(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let wrote = bytes.withUnsafeBytes { Glibc.write(1, $0.baseAddress?.advanced(by: done), $0.count - done) }
      guard wrote > 0 else { throw BenchError(description: "standard output is closed") }
      done += wrote
    }
  }
}
