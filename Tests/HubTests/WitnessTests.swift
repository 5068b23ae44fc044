import Fleet
import Hub
import Testing
import Trust
import Web

@Suite struct WitnessTests {
  private static let path = "/v1/audit/add-checkpoint"

  private func verifier(_ hub: TestHub) async throws -> NoteVerifier {
    try NoteVerifier(vkey: #require(try await hub.admin("GET", "/status").json["witness"]?.string))
  }

  @Test func cosignsALogThatOnlyGrows() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let witness = try await verifier(hub)
      var log = TestLog(device)
      var old: UInt64 = 0
      for size in [1, 2, 3, 8, 13, 13, 64, 100] as [UInt64] {
        while log.size < size { try log.append("record \(log.size)") }
        let answer = try await device.post(Self.path, log.body(old: old, new: size))
        #expect(answer.status == 200, "to \(size): \(answer.text)")
        var note = try SignedNote.sign(
          text: log.checkpoint(at: size).noteText, name: device.id.auditOrigin, key: device.key)
        let line = try #require(answer.text.split(separator: "\n").first)
        note.signatures.append(try #require(NoteSignature(line: line)))
        #expect(note.cosignatureTime(by: witness) != nil)
        old = size
      }
      let shown = try await hub.admin("GET", "/devices/\(device.id)").json
      #expect(shown["audit"]?["cosignedSize"]?.integer == 100)
      let kept = try SignedNote(parsing: Array(#require(shown["checkpoint"]?.string).utf8))
      #expect(kept.verified(by: witness))
      #expect(kept.verified(by: NoteVerifier(name: device.id.auditOrigin, key: device.key.verifyingKey)))
      let sync = try await device.post("/v1/sync", device.syncRequest(size: 100, root: log.checkpoint(at: 100).root))
      #expect(try sync.json["audit"]?["cosignedSize"]?.integer == 100)
      #expect(try sync.json["wants"] == ["report"])
    }
  }

  @Test func refusesARollback() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      var log = TestLog(device)
      for n in 0..<20 { try log.append("record \(n)") }
      #expect(try await device.post(Self.path, log.body(old: 0, new: 20)).status == 200)
      // From the start again, and from a size that was passed.
      for old in [0, 5] as [UInt64] {
        let answer = try await device.post(Self.path, log.body(old: old, new: 10))
        #expect(answer.status == 409)
        #expect(answer.text == "20\n")
        #expect(answer.headers["content-type"] == "text/x.tlog.size")
      }
      #expect(try await device.post(Self.path, log.body(old: 20, new: 10)).status == 400)
    }
  }

  @Test func refusesARewrittenLog() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      var honest = TestLog(device)
      var forged = TestLog(device)
      for n in 0..<12 {
        try honest.append("record \(n)")
        try forged.append(n == 4 ? "nothing happened" : "record \(n)")
      }
      #expect(try await device.post(Self.path, honest.body(old: 0, new: 8)).status == 200)
      #expect(try await device.post(Self.path, forged.body(old: 8, new: 12)).status == 422)
      let same = try await device.post(Self.path, forged.body(old: 8, new: 8))
      #expect(same.status == 409)
      #expect(try await device.post(Self.path, honest.body(old: 8, new: 12)).status == 200)
    }
  }

  @Test func refusesAProofThatIsCutOrPadded() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      var log = TestLog(device)
      for n in 0..<13 { try log.append("record \(n)") }
      #expect(try await device.post(Self.path, log.body(old: 0, new: 6)).status == 200)
      let checkpoint = try log.checkpoint(at: 13)
      let note = try SignedNote.sign(text: checkpoint.noteText, name: checkpoint.origin, key: device.key)
      let proof = try Merkle.consistencyProof(old: 6, new: 13, read: log.read)
      for bad in [Array(proof.dropLast()), proof + [Digest(of: [])], proof.reversed(), []] {
        let answer = try await device.post(Self.path, AddCheckpoint.body(oldSize: 6, proof: bad, note: note))
        #expect(answer.status == 422)
      }
      let long = AddCheckpoint.body(oldSize: 6, proof: Array(repeating: Digest(of: []), count: 64), note: note)
      #expect(try await device.post(Self.path, long).status == 400)
    }
  }

  @Test func witnessesOnlyTheBoxsOwnLogUnderItsOwnKey() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub, name: "one")
      let other = try await ScriptedDevice.enrolled(hub, name: "two")
      var log = TestLog(device)
      try log.append("record")
      let stranger = try await device.post(Self.path, log.body(old: 0, new: 1, signer: SigningKey.generate()))
      #expect(stranger.status == 403)
      let foreign = try await device.post(Self.path, log.body(old: 0, new: 1, origin: other.id.auditOrigin))
      #expect(foreign.status == 403)
      for origin in ["example.com/log", "skerry/audit/", "skerry/audit/\(String(repeating: "0", count: 32))"] {
        #expect(try await device.post(Self.path, log.body(old: 0, new: 1, origin: origin)).status == 404, "\(origin)")
      }
      #expect(try await hub.admin("GET", "/devices/\(other.id)").json["checkpoint"] == .null)
      #expect(try await hub.admin("GET", "/devices/\(device.id)").json["checkpoint"] == .null)
    }
  }

  /// "There is no authentication of requests beyond the validation of the signature on the checkpoint."
  @Test func anybodyMayHandOverAHead() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let witness = try await verifier(hub)
      var log = TestLog(device)
      for n in 0..<5 { try log.append("record \(n)") }
      let body = try log.body(old: 0, new: 5)
      let answer = try await hub.send("POST", Self.path, headers: ["Content-Type": "text/plain"], body: body)
      #expect(answer.status == 200)
      // "The client MAY concatenate it to the checkpoint, and use a note verification function."
      let gap = try #require(body.split(separator: 0x0A, omittingEmptySubsequences: false).firstIndex(of: []))
      let head = body.split(separator: 0x0A, omittingEmptySubsequences: false)[(gap + 1)...].joined(separator: [0x0A])
      #expect(try SignedNote(parsing: Array(head) + answer.body).cosignatureTime(by: witness) != nil)
      // What was cosigned stays the box's own affair: the sequence of its requests goes on.
      #expect(try await device.post("/v1/sync", device.syncRequest(size: 5)).json["audit"]?["cosignedSize"] == 5)
      _ = try await hub.admin("DELETE", "/devices/\(device.id)")
      try log.append("record 5")
      #expect(try await hub.send("POST", Self.path, body: log.body(old: 5, new: 6)).status == 403)
    }
  }

  /// Whoever has an export has heads that the box signed: bringing them again takes nothing from the box.
  @Test func oldHeadsThatAreBroughtAgainDoNotStarveTheBox() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      var log = TestLog(device)
      for n in 0..<5 { try log.append("record \(n)") }
      let old = try log.body(old: 0, new: 3)
      #expect(try await hub.send("POST", Self.path, body: old).status == 200)
      #expect(try await hub.send("POST", Self.path, body: log.body(old: 3, new: 5)).status == 200)
      let again = try log.body(old: 5, new: 5)
      // The right head with a wrong proof is no new one, either.
      for n in 5..<8 { try log.append("record \(n)") }
      let note = try SignedNote.sign(
        text: log.checkpoint(at: 8).noteText, name: device.id.auditOrigin, key: device.key)
      let wrong = AddCheckpoint.body(oldSize: 5, proof: [], note: note)
      var statuses: [Int: Int] = [:]
      for number in 0..<300 {
        let body = [old, again, wrong][number % 3]
        statuses[try await hub.send("POST", Self.path, body: body).status, default: 0] += 1
      }
      #expect(Set(statuses.keys).isSubset(of: [200, 409, 422, 503]) && statuses[503] ?? 0 > 0, "\(statuses)")
      #expect(try await device.post(Self.path, log.body(old: 5, new: 8)).status == 200)
    }
  }

  @Test func theHubSaysWhenABoxShowsAnotherLogThanItWitnessed() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      var log = TestLog(device)
      for n in 0..<5 { try log.append("record \(n)") }
      #expect(try await device.post(Self.path, log.body(old: 0, new: 5)).status == 200)
      func firstFinding() async throws -> String? {
        try await hub.admin("GET", "/devices/\(device.id)").json["findings"]?.array?.first?["text"]?.string
      }
      _ = try await device.post("/v1/sync", device.syncRequest(size: 3))
      #expect(try await firstFinding() == "the audit log is shorter (3) than the head that was cosigned (5)")
      _ = try await device.post("/v1/sync", device.syncRequest(size: 5, root: Digest(of: [9])))
      #expect(try await firstFinding() == "the audit log differs from the head that was cosigned")
    }
  }
}
