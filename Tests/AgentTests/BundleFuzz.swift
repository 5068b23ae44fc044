import Fleet
import FoundationEssentials
import Storage
import Testing
import Trust

@testable import Agent

/// Damaged sticks at a whole box: none is taken that is not byte for byte the hub's, and none leaves a trace but its
/// refusal in the audit log. `COUNT` inputs in all of `make fuzz` make a quarter of that here, 10,000 at most.
@Suite(.serialized) struct BundleFuzz {
  private static let count = min(
    10_000, (ProcessInfo.processInfo.environment["COUNT"].flatMap { Int($0) } ?? 2_000) / 4)
  private static let seed =
    ProcessInfo.processInfo.environment["SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)

  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  /// One damage of a kind that a stick, a slip of the hand or an attacker may do.
  private func damaged(_ one: [UInt8], _ other: [UInt8], _ random: inout Generator) -> [UInt8] {
    var bytes = one
    let at = Int.random(in: 0..<bytes.count, using: &random)
    // Half of them near the front, where head, manifest and the first entries are.
    let early = Int.random(in: 0..<min(4_096, bytes.count), using: &random)
    switch Int.random(in: 0..<9, using: &random) {
    case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 1: bytes[early] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2: bytes = Array(bytes.prefix(at))
    case 3: bytes = Array(bytes.prefix(at)) + other.suffix(max(0, other.count - at))
    case 4: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...64, using: &random)))
    case 5: bytes.insert(contentsOf: [UInt8](repeating: UInt8(truncatingIfNeeded: at), count: 7), at: early)
    case 6:
      // A length that lies.
      for offset in 0..<min(8, bytes.count - early) { bytes[early + offset] = 0xFF }
    case 7:
      // Two runs change places.
      let length = min(200, (bytes.count - early) / 3)
      let first = early..<early + length
      let second = bytes.count - length..<bytes.count
      let moved = Array(bytes[first])
      bytes.replaceSubrange(first, with: bytes[second])
      bytes.replaceSubrange(second, with: moved)
    default: bytes += [UInt8](repeating: 0, count: Int.random(in: 1...9, using: &random))
    }
    return bytes
  }

  /// Manifest of one, body of another.
  private func spliced(_ head: [UInt8], _ body: [UInt8]) -> [UInt8] {
    func split(_ bytes: [UInt8]) -> Int {
      16 + bytes[12..<16].reversed().reduce(0) { $0 << 8 | Int($1) }
    }
    return Array(head.prefix(split(head))) + body.dropFirst(split(body))
  }

  @Test func noDamagedStickIsTakenAndNoneLeavesATrace() async throws {
    let scratch = try Scratch()
    let hub = StickHub()
    let box = try await BundleBox(scratch.path + "/box")
    _ = try await box.bundles.enrollmentRequest(token: try hub.token(), actor: "test")
    try await box.take(try hub.bundle(for: box, serial: 1, enrolls: true))
    try hub.publisher.publish(ggufFile(seed: 3, weights: 90_000), name: "tiny")
    let one = try hub.bundle(for: box, serial: 2)
    let other = try hub.bundle(for: box, serial: 3)
    let before = try await box.state()
    var random = Generator(state: Self.seed)
    var refused: [String: Int] = [:]

    func demandRefusal(_ bundle: [UInt8], _ what: String) async throws {
      guard bundle != one, bundle != other else { return }
      do {
        try await box.take(bundle)
        Issue.record("a damaged bundle was taken: \(what), seed \(Self.seed)")
      } catch let error as BundleError {
        refused["\(error)".prefix(24).description, default: 0] += 1
      } catch let error as BundleFailure {
        refused["\(error)".prefix(24).description, default: 0] += 1
      }
    }
    try await demandRefusal(spliced(one, other), "splice")
    try await demandRefusal(spliced(other, one), "splice")
    for number in 0..<Self.count {
      try await demandRefusal(damaged(number.isMultiple(of: 2) ? one : other, one, &random), "number \(number)")
      if number.isMultiple(of: 100) {
        #expect(try await box.state() == before, "number \(number), seed \(Self.seed)")
      }
    }
    #expect(try await box.state() == before, "seed \(Self.seed)")
    #expect(try box.records("bundle").count { $0["event"]?.string == "refused" } > 0)
    print("fuzz box: \(Self.count) damaged bundles refused, seed \(Self.seed): \(refused)")
    // The sound one still is.
    #expect(try await box.take(one).activated == ["tiny:1"])
    await box.close()
  }
}
