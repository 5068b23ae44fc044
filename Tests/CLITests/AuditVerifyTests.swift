import CommandLine
import Fleet
import Foundation
import Testing
import Trust
import Web

@testable import skerry

@Suite struct AuditVerifyTests {
  private let key = SigningKey.generate()
  private let witness = SigningKey.generate()
  private var device: NoteVerifier { NoteVerifier(name: "box", key: key.verifyingKey) }

  /// An export of five entries, of which the witness has seen three.
  private func export() throws -> [UInt8] {
    var tree = MerkleFrontier()
    var seen: SignedNote?
    var lines: [[UInt8]] = []
    for n in 0..<5 {
      let record: JSONValue = ["v": 1, "n": .integer(Int64(n)), "t": 1000, "kind": "decision", "actor": "uid:0"]
      tree.append(Merkle.leafHash(record.encoded()))
      lines.append(AuditExportEntry.line(index: UInt64(n), record: record.encoded()))
      if n == 2 {
        seen = try head(tree)
        seen?.signatures.append(try head(tree).cosigned(name: "hub", key: witness, time: 86_400))
      }
    }
    let header = AuditExportHeader(
      origin: "box", size: 5, checkpoint: try head(tree), cosigned: seen, device: device,
      witness: NoteVerifier(name: "hub", key: witness.verifyingKey, algorithm: NoteVerifier.cosignatureV1))
    return ([header.line] + lines).flatMap { $0 + [0x0A] }
  }

  private func head(_ tree: MerkleFrontier) throws -> SignedNote {
    try SignedNote.sign(
      text: Checkpoint(origin: "box", size: tree.size, root: tree.root).noteText, name: "box", key: key)
  }

  private func verify(_ export: [UInt8], _ options: String...) async throws -> FakeAgent.Said {
    let agent = try FakeAgent([:])
    let file = agent.file("log.jsonl")
    try Data(export).write(to: URL(filePath: file))
    let said = try await agent.run(["audit", "verify", file] + options)
    #expect(agent.asked == [])
    await agent.stop()
    return said
  }

  @Test func aWholeExportIsVerifiedWithNobodysHelp() async throws {
    let said = try await verify(try export(), "--key", device.vkey)
    #expect(said.failure == nil)
    #expect(said.output.contains("5 entries"))
    #expect(said.output.contains("cosigned  the first 3 entries, at 1970-01-02T00:00:00Z"))
    let json = try await verify(try export(), "--json").json
    #expect(json?["valid"] == true && json?["cosignedSize"] == 3 && json?["deviceKeyGiven"] == false)
  }

  @Test func aChangedEntryIsNamed() async throws {
    let text = String(decoding: try export(), as: UTF8.self)
    var lines = text.split(separator: "\n").map(String.init)
    lines[3] = lines[3].replacingOccurrences(of: "uid:0", with: "uid:1")
    let forged = Array((lines.joined(separator: "\n") + "\n").utf8)
    let said = try await verify(forged, "--key", device.vkey)
    #expect(said.failure?.status == .data)
    #expect(said.failure?.message.contains("entry 2") == true)
    #expect(said.output == "")
    let json = try await verify(forged, "--json")
    #expect(json.json?["valid"] == false && json.json?["firstBad"] == 2 && json.failure?.status == .data)
  }

  @Test func anotherBoxesKeyIsNotThisLogs() async throws {
    let other = NoteVerifier(name: "box", key: SigningKey.generate().verifyingKey)
    #expect(try await verify(try export(), "--key", other.vkey).failure?.status == .data)
    #expect(try await verify(try export(), "--witness", other.vkey).failure?.status == .data)
  }

  /// The cursor goes on only over what was seen and makes the tree of its head.
  @Test func aCursorDoesNotMoveToAHeadThatNothingShows() async throws {
    let whole = try export()
    let lines = whole.split(separator: 0x0A, omittingEmptySubsequences: false).map(Array.init)
    func text(_ lines: [[UInt8]]) -> [UInt8] { lines.flatMap { $0 + [0x0A] } }
    func cursorAfter(_ body: [UInt8], _ cursor: String?) async throws -> (String?, FakeAgent.Said) {
      let agent = try FakeAgent(["*": HTTPResponse(status: 200, body: .bytes(body))])
      let file = agent.file("cursor")
      if let cursor { try Data(cursor.utf8).write(to: URL(filePath: file)) }
      let said = try await agent.run(
        ["audit", "export", "--output", agent.file("out"), "--cursor", file])
      let kept = try? String(decoding: Data(contentsOf: URL(filePath: file)), as: UTF8.self)
      #expect(said.failure == nil || !FileManager.default.fileExists(atPath: agent.file("out")))
      await agent.stop()
      return (kept, said)
    }
    let (first, good) = try await cursorAfter(whole, nil)
    #expect(good.failure == nil)
    let cursor = try #require(first)
    let size = try JSONValue(parsing: Array(cursor.utf8))["size"]
    #expect(size == 5)
    // A later head by the box's own key, over a history that is another: the header alone, and with too few entries.
    var other = MerkleFrontier()
    for n in 0..<7 { other.append(Merkle.leafHash(Array("other \(n)".utf8))) }
    let header = AuditExportHeader(
      origin: "box", size: 7, checkpoint: try head(other), cosigned: nil, device: device, witness: nil
    ).line
    for body in [text([header]), text([header] + Array(lines[1...5]))] {
      let (kept, said) = try await cursorAfter(body, cursor)
      #expect(said.failure?.status == .data && kept == cursor)
      let (none, refused) = try await cursorAfter(body, nil)
      #expect(refused.failure?.status == .data && none == nil)
    }
    // Entries that are left out at the end, and a head that somebody else signed.
    let short = text(Array(lines[0...3]))
    #expect(try await cursorAfter(short, nil).1.failure?.status == .data)
    let forged = AuditExportHeader(
      origin: "box", size: 5,
      checkpoint: try SignedNote.sign(
        text: Checkpoint(noteText: try head(other).text).noteText, name: "box", key: witness), cosigned: nil,
      device: device, witness: nil)
    let (_, said) = try await cursorAfter(text([forged.line]), nil)
    #expect(said.failure?.status == .data)
  }

  @Test func aCutExportIsNoWholeOne() async throws {
    let whole = try export()
    for length in [0, 10, whole.count / 2, whole.count - 1] {
      let said = try await verify(Array(whole.prefix(length)))
      #expect(said.failure?.status == .data, "\(length)")
    }
  }
}
