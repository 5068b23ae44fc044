import Foundation
import Testing

@testable import Trust

private let peer = ProcessInfo.processInfo.environment["SKERRY_TLOG_PEER"]

/// Signed heads and proofs against Go's sumdb/note and sumdb/tlog: it takes what we make, makes the same, and refuses what
/// was changed. `COUNT` is the number of trees and of changed ones.
@Suite(.enabled(if: peer != nil)) struct TlogPeerTests {
  private static let count = ProcessInfo.processInfo.environment["COUNT"].flatMap { Int($0) } ?? 10_000

  /// A log with its head and one proof of each kind, as the peer is told of it.
  private struct Case {
    var seed = ""
    var rebuild = false
    var text: [UInt8]
    var signatures: [NoteSignature]
    var device: NoteVerifier
    var witness: NoteVerifier
    var index: UInt64
    var leaf: Digest
    var inclusion: [Digest]
    var old: UInt64
    var oldRoot: Digest
    var consistency: [Digest]

    var note: [UInt8] {
      text + [0x0A] + signatures.flatMap { Array(($0.line + "\n").utf8) }
    }

    var line: [UInt8] {
      func base64(_ digests: [Digest]) -> JSONValue { .array(digests.map { .string(Base64.encode($0.bytes)) }) }
      return JSONValue.object([
        "seed": .string(seed), "rebuild": .bool(rebuild), "note": .string(Base64.encode(note)),
        "device": .string(device.vkey), "witness": .string(witness.vkey), "index": .integer(Int64(index)),
        "leaf": .string(Base64.encode(leaf.bytes)), "inclusion": base64(inclusion), "old": .integer(Int64(old)),
        "oldRoot": .string(Base64.encode(oldRoot.bytes)), "consistency": base64(consistency),
      ]).encoded() + [0x0A]
    }

    /// The same questions asked of our own code.
    var weTakeIt: Bool {
      guard let note = try? SignedNote(parsing: note), note.verified(by: device), note.verified(by: witness),
        let head = try? Checkpoint(noteText: note.text), head.origin == device.name
      else { return false }
      return Merkle.verifyInclusion(leaf: leaf, index: index, size: head.size, proof: inclusion, root: head.root)
        && Merkle.verifyConsistency(
          oldSize: old, oldRoot: oldRoot, newSize: head.size, newRoot: head.root, proof: consistency)
    }
  }

  /// Keys and records for a run, so that signing is all that costs.
  private struct Maker {
    let key = SigningKey.generate()
    let hub = SigningKey.generate()
    let device: NoteVerifier
    let witness: NoteVerifier

    init() {
      device = NoteVerifier(name: "skerry/audit/0123456789abcdef", key: key.verifyingKey)
      witness = NoteVerifier(name: "hub", key: hub.verifyingKey, algorithm: NoteVerifier.cosignatureV1)
    }

    func make(_ number: Int, _ random: inout some RandomNumberGenerator) throws -> Case {
      let size = UInt64(
        number % 100 == 0 ? Int.random(in: 200...2_000, using: &random) : Int.random(in: 1...150, using: &random))
      let seed = "tree \(number)"
      var tree = MerkleFrontier()
      var stored: [Digest] = []
      for index in 0..<size { stored += tree.append(Merkle.leafHash(Array("\(seed)/\(index)".utf8))) }
      let read: Merkle.Reader = { indexes in indexes.map { stored[Int($0)] } }
      let text = Checkpoint(origin: device.name, size: size, root: tree.root).noteText
      var note = try SignedNote.sign(text: text, name: device.name, key: key)
      note.signatures.append(note.cosigned(name: "hub", key: hub, time: .random(in: 0...1 << 40, using: &random)))
      let index = UInt64.random(in: 0..<size, using: &random)
      let old = UInt64.random(in: 1...size, using: &random)
      return Case(
        seed: seed, rebuild: true, text: Array(text.utf8), signatures: note.signatures, device: device,
        witness: witness, index: index, leaf: Merkle.leafHash(Array("\(seed)/\(index)".utf8)),
        inclusion: try Merkle.inclusionProof(index: index, size: size, read: read), old: old,
        oldRoot: try Merkle.root(size: old, read: read),
        consistency: try Merkle.consistencyProof(old: old, new: size, read: read))
    }
  }

  private static func flipped(_ bytes: [UInt8], _ random: inout some RandomNumberGenerator) -> [UInt8] {
    var bytes = bytes
    guard let at = bytes.indices.randomElement(using: &random) else { return [1] }
    bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    return bytes
  }

  private static func flipped(_ digest: Digest, _ random: inout some RandomNumberGenerator) -> Digest {
    Digest(bytes: flipped(digest.bytes, &random)) ?? digest
  }

  private static func changed(_ proof: [Digest], _ random: inout some RandomNumberGenerator) -> [Digest] {
    var proof = proof
    guard let at = proof.indices.randomElement(using: &random) else { return [Digest(of: [7])] }
    switch Int.random(in: 0..<4, using: &random) {
    case 0: proof[at] = flipped(proof[at], &random)
    case 1: proof.remove(at: at)
    case 2: proof.insert(proof[at], at: at)
    default:
      let other = (at + 1) % proof.count
      guard other != at else { return [] }
      proof.swapAt(at, other)
    }
    return proof
  }

  /// One change that makes the case false.
  private static func mutant(
    _ number: Int, of good: Case, size: UInt64, _ random: inout some RandomNumberGenerator
  ) -> Case {
    var bad = good
    bad.rebuild = false
    switch number % 10 {
    case 0: bad.text = flipped(bad.text, &random)
    case 1, 2:
      let at = number % 10 - 1
      let old = bad.signatures[at]
      let bytes = flipped(old.signature, &random)
      bad.signatures[at] = NoteSignature(name: old.name, keyID: old.keyID, signature: bytes)
    case 3: bad.signatures.remove(at: Int.random(in: 0...1, using: &random))
    case 4: bad.inclusion = changed(bad.inclusion, &random)
    case 5:
      // In a tree of one there is no other entry.
      bad.index = size == 1 ? 1 : (bad.index + .random(in: 1..<size, using: &random)) % size
    case 6: bad.leaf = flipped(bad.leaf, &random)
    case 7: bad.consistency = changed(bad.consistency, &random)
    case 8: bad.oldRoot = flipped(bad.oldRoot, &random)
    default: bad.old = size == 1 ? 2 : (bad.old - 1 + .random(in: 1..<size, using: &random)) % size + 1
    }
    return bad
  }

  /// The peer's answers, one for each case.
  private func ask(_ cases: [Case]) throws -> [String] {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skerry-tlog-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let questions = folder.appendingPathComponent("questions")
    let answers = folder.appendingPathComponent("answers")
    try Data(cases.flatMap(\.line)).write(to: questions)
    try Data().write(to: answers)
    let process = Process()
    process.executableURL = URL(filePath: try #require(peer))
    process.standardInput = try FileHandle(forReadingFrom: questions)
    process.standardOutput = try FileHandle(forWritingTo: answers)
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return String(decoding: try Data(contentsOf: answers), as: UTF8.self).split(separator: "\n").map(String.init)
  }

  @Test func goTakesWhatWeMakeAndNothingThatWasChanged() throws {
    var random = SystemRandomNumberGenerator()
    let maker = Maker()
    var done = 0
    while done < Self.count {
      var good: [Case] = []
      var bad: [Case] = []
      for number in done..<min(done + 1_000, Self.count) {
        let one = try maker.make(number, &random)
        let size = try Checkpoint(noteText: String(decoding: one.text, as: UTF8.self)).size
        good.append(one)
        bad.append(Self.mutant(number, of: one, size: size, &random))
      }
      let answers = try ask(good + bad)
      try #require(answers.count == good.count + bad.count)
      for (at, answer) in answers.enumerated() {
        let isGood = at < good.count
        let number = done + (isGood ? at : at - good.count)
        #expect((answer == "ok") == isGood, "Go on \(isGood ? "tree" : "mutant") \(number): \(answer)")
        let ours = isGood ? good[at].weTakeIt : bad[at - good.count].weTakeIt
        #expect(ours == isGood, "we on \(isGood ? "tree" : "mutant") \(number)")
      }
      done += good.count
    }
  }
}
