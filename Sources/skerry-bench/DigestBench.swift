import Trust

/// SHA-256 over weights in memory: the price of checking a model at each load.
enum DigestBench {
  static func run() throws {
    let block = [UInt8](repeating: 0x5A, count: 64 << 20)
    var rates: [Double] = []
    for _ in 0..<5 {
      var digest: Digest?
      let took = seconds { digest = Digest(of: block) }
      guard digest != nil else { throw BenchError(description: "no digest") }
      rates.append(64 / took)
    }
    emit("trust.sha256", median(rates), "MiB/s")
  }
}
