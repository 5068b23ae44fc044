import Fleet
import FoundationEssentials
import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// Sticks of a hub, at a box that never sees it.
@Suite struct BundleTests {
  /// A box, enrolled by stick unless told otherwise, with a model on the next stick.
  private func with(
    enrolled: Bool = true, policies: Bool = false, _ body: (StickHub, BundleBox) async throws -> Void
  ) async throws {
    let scratch = try Scratch()
    let hub = StickHub()
    let box = try await BundleBox(scratch.path + "/box", policies: policies)
    do {
      if enrolled {
        _ = try await box.bundles.enrollmentRequest(token: try hub.token(), actor: "test")
        try await box.take(try hub.bundle(for: box, serial: 1, enrolls: true))
      }
      try hub.publisher.publish(ggufFile(seed: 3, weights: 200_000), name: "tiny")
      try await body(hub, box)
    } catch {
      await box.close()
      throw error
    }
    await box.close()
  }

  private func refusal(_ box: BundleBox, _ bundle: [UInt8]) async throws -> (any Error)? {
    let before = try await box.state()
    do {
      try await box.take(bundle)
      Issue.record("it was taken")
      return nil
    } catch {
      #expect(try await box.state() == before, "something of it was applied: \(error)")
      return error
    }
  }

  @Test func aBoxJoinsAndGetsItsModelWithoutALink() async throws {
    try await with(enrolled: false) { hub, box in
      #expect(await refusedAsNotEnrolled(box, try hub.bundle(for: box)))
      let request = try await box.bundles.enrollmentRequest(token: try hub.token(), actor: "test")
      var reader = BundleReader()
      var signed: SignedBundleManifest?
      var content: [UInt8] = []
      try reader.push(request) { event in
        switch event {
        case .manifest(let found): signed = found
        case .bytes(let part): content += part
        default: break
        }
      }
      try reader.finish()
      #expect(signed?.isSignedByItsBox == true)
      #expect(!String(decoding: request, as: UTF8.self).contains(hub.enrollmentSecret))
      let asked = try JSONValue(parsing: content).decoded(as: BundleEnrollment.self)
      #expect(
        asked.proof
          == BundleEnrollment.proof(
            secretDigest: Digest(of: Array(hub.enrollmentSecret.utf8)), key: box.identity.key.verifyingKey))

      let outcome = try await box.take(try hub.bundle(for: box, enrolls: true))
      #expect(outcome.enrolled)
      #expect(outcome.activated == ["tiny:1"])
      #expect(outcome.failures.isEmpty)
      let enrolment = try #require(await box.sync.currentEnrolment())
      #expect(enrolment.sealTo == hub.sealKey.sealingKey.hex)
      #expect(try DurableFile.read(try await box.registry.verifiedPath("tiny")) == ggufFile(seed: 3, weights: 200_000))
      #expect(try DurableFile.names(in: box.path + "/bundle").isEmpty)
      #expect(try PendingEnrollment.load(from: box.path) == nil)
    }
  }

  private func refusedAsNotEnrolled(_ box: BundleBox, _ bundle: [UInt8]) async -> Bool {
    do {
      try await box.take(bundle)
      return false
    } catch BundleFailure.notEnrolled {
      return true
    } catch { return false }
  }

  @Test func anAnswerToAnotherRequestOrFromAnotherRootJoinsNobody() async throws {
    try await with(enrolled: false) { hub, box in
      _ = try await box.bundles.enrollmentRequest(token: try hub.token(), actor: "test")
      // Of another fleet altogether: its root is not the token's.
      let other = StickHub()
      #expect(try await refusal(box, try other.bundle(for: box, enrolls: true)) as? BundleError == .badSignature)
      // The right hub, without an answer to this request.
      guard case BundleFailure.notAnswered? = try await refusal(box, try hub.bundle(for: box)) else {
        Issue.record("a bundle without an answer joined it")
        return
      }
      #expect(try await box.take(try hub.bundle(for: box, serial: 2, enrolls: true)).enrolled)
    }
  }

  @Test func theSameStickAgainChangesNothingAndAnOlderOneIsRefused() async throws {
    try await with { hub, box in
      let old = try hub.bundle(for: box, serial: 5)
      let new = try hub.bundle(for: box, serial: 6)
      #expect(try await box.take(new).activated == ["tiny:1"])
      let state = try await box.state()
      #expect(try await box.take(new).activated.isEmpty)
      #expect(try await box.state() == state)
      #expect(try await refusal(box, old) as? BundleError == .older(serial: 5, have: 6))
      // Another one under the same number is a replay, too.
      #expect(try await refusal(box, try hub.bundle(for: box, serial: 6)) as? BundleError == .older(serial: 6, have: 6))
      #expect(try box.attacks() == ["replay", "replay"])
    }
  }

  @Test func anotherBoxsStickAndAnotherSignersAreRefusedByName() async throws {
    try await with { hub, box in
      let other = DeviceID(key: SigningKey.generate().verifyingKey)
      let parts = try hub.parts(for: box, try hub.answer(box))
      let foreign = try hub.bundle(parts, for: [other], serial: 9)
      #expect(try await refusal(box, foreign) as? BundleError == .notForThisBox(devices: 1))
      let forged = try hub.bundle(parts, for: [box.identity.id], serial: 9, key: .generate())
      #expect(try await refusal(box, forged) as? BundleError == .badSignature)
      let publisher = try hub.bundle(parts, for: [box.identity.id], serial: 9, key: hub.publisher.targetsKey)
      #expect(try await refusal(box, publisher) as? BundleError == .badSignature)
      #expect(try box.attacks() == ["wrong-device", "bad-signature", "bad-signature"])
      // None of them used the number up.
      #expect(
        try await box.take(try hub.bundle(parts, for: [other, box.identity.id], serial: 9)).activated == ["tiny:1"])
    }
  }

  @Test func aStolenOnlineKeyInstallsNothingThatThePublisherDidNotSign() async throws {
    try await with { hub, box in
      var parts = try hub.parts(for: box, try hub.answer(box))
      let evil = ggufFile(seed: 66, weights: 1_000)
      let target = TUFTarget(path: "models/evil/1/evil.gguf", length: UInt64(evil.count), sha256: Digest(of: evil))
      let forged = try TUFWriter.targets(
        version: 3, expires: Date(timeIntervalSince1970: 4_000_000_000), targets: [target]
      ).signed(by: [hub.publisher.onlineKey])
      for at in parts.indices where parts[at].kind == .imageMetadata && parts[at].name.hasSuffix(".targets.json") {
        parts[at].bytes = forged
      }
      let before = await box.registry.installed()
      await #expect(throws: (any Error).self) {
        try await box.take(try hub.bundle(parts, for: [box.identity.id], serial: 9))
      }
      #expect(await box.registry.installed() == before)
      #expect(try !box.attacks().isEmpty)
    }
  }

  @Test func policiesComeInOnlyWhereTheyMayAndOnlyWhenTheyAreGood() async throws {
    let good = """
      {version: 1, roles: {boss: {summary: "all", allow: [{verbs: ["*"], resources: ["*"]}]}},
       bindings: [{role: "boss", subjects: ["uid:0"]}]}
      """
    try await with { hub, box in
      let parts = try hub.parts(for: box, try hub.answer(box), policies: good)
      #expect(try await box.take(try hub.bundle(parts, for: [box.identity.id], serial: 2)).policies == "off")
      #expect(box.access.policy.roles.map(\.name).contains("chat"))
      #expect(!DurableFile.exists(box.path + "/policies/roles.json5"))
    }
    try await with(policies: true) { hub, box in
      func take(_ text: String, _ serial: Int64) async throws -> BundleOutcome {
        let parts = try hub.parts(for: box, try hub.answer(box), policies: text)
        return try await box.take(try hub.bundle(parts, for: [box.identity.id], serial: serial))
      }
      try DurableFile.makeDirectory(box.path + "/policies")
      #expect(try await take(good, 2).policies == "adopted")
      #expect(box.access.policy.roles.map(\.name) == ["boss"])
      let nobody = good.replacing("uid:0", with: "token:x").replacing(
        "[\"*\"], resources", with: "[\"infer\"], resources")
      for bad in ["{version: 1, roles: {", nobody] {
        let outcome = try await take(bad, 3)
        #expect(outcome.policies == "refused")
        #expect(outcome.failures.count == 1)
        #expect(box.access.policy.roles.map(\.name) == ["boss"])
      }
      let second = good.replacing("boss", with: "chief")
      #expect(try await take(second, 4).policies == "adopted")
      #expect(try DurableFile.read(box.path + "/policies/roles.json5.previous") == Array(good.utf8))
      #expect(try await take(second, 5).policies == "unchanged")
    }
  }

  @Test func whatTheBoxTellsIsForTheHubAloneAndStaysUntilTheHubHasIt() async throws {
    try await with { hub, box in
      try await box.take(try hub.bundle(for: box, serial: 2))
      try await box.sync.enqueue(kind: OutboxItem.event, priority: 3, body: ["secret": "of the box"])
      let exported = try await box.export()
      #expect(!String(decoding: exported, as: UTF8.self).contains("of the box"))
      let found = try Opened(exported, hub, box)
      #expect(found.manifest?.isSignedByItsBox == true)
      #expect(found.items.map(\.kind).sorted() == ["event", "report"])
      let head = try #require(found.head)
      #expect(head.verified(by: box.log.deviceKey))
      let checkpoint = try Checkpoint(noteText: head.text)
      var verifier = AuditSegmentVerifier(recorded: nil, checkpoint: checkpoint)
      try verifier.push(found.segment)
      try verifier.finish()
      #expect(try await box.sync.status().outbox == 2, "it waits until the hub says that it has it")

      // The hub takes it and answers on the next stick.
      let cosigned = {
        var note = head
        note.signatures.append(
          note.cosigned(name: hub.witnessVerifier.name, key: hub.witness, time: 1_800_000_000))
        return note
      }()
      let answer = try hub.answer(box, accepted: found.items.map(\.id), cosigned: cosigned)
      let outcome = try await box.take(
        try hub.bundle(try hub.parts(for: box, answer), for: [box.identity.id], serial: 3))
      #expect(outcome.acknowledged == 2)
      #expect(outcome.cosignedSize == checkpoint.size)
      #expect(try await box.sync.status().outbox == 0)
      #expect(box.log.cosigned()?.size == checkpoint.size)
      // The next export begins where the hub has cosigned.
      let next = try Opened(try await box.export(), hub, box)
      let newer = try Checkpoint(noteText: try #require(next.head).text)
      var second = AuditSegmentVerifier(recorded: (checkpoint.size, checkpoint.root), checkpoint: newer)
      try second.push(next.segment)
      try second.finish()
      #expect(second.from == checkpoint.size)
    }
  }

  /// What a hub finds in a box's bundle.
  private struct Opened {
    var manifest: SignedBundleManifest?
    var items: [OutboxItem] = []
    var head: SignedNote?
    var segment: [UInt8] = []

    init(_ bundle: [UInt8], _ hub: StickHub, _ box: BundleBox) throws {
      var reader = BundleReader()
      var sealed: [UInt8] = []
      try reader.push(bundle) { event in
        switch event {
        case .manifest(let signed): manifest = signed
        case .bytes(let part): sealed += part
        default: break
        }
      }
      try reader.finish()
      let plaintext = try SealedStream.open(sealed, key: hub.sealKey, info: BundleSeal.info(box.identity.id))
      var inner = BundleReader(entriesOf: UInt64(plaintext.count))
      var bytes: [UInt8] = []
      var (items, head, segment): ([OutboxItem], SignedNote?, [UInt8]) = ([], nil, [])
      try inner.push(plaintext) { event in
        switch event {
        case .entry: bytes = []
        case .bytes(let part): bytes += part
        case .end(let entry):
          switch entry.kind {
          case .outbox: items += try JSONValue(parsing: bytes).decoded(as: OutboxBatch.self).items
          case .checkpoint:
            let lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
            let gap = lines.firstIndex(where: \.isEmpty) ?? 0
            head = try SignedNote(parsing: Array(lines[(gap + 1)...].joined(separator: [0x0A])))
          case .records: segment = bytes
          default: break
          }
        case .manifest: break
        }
      }
      try inner.finish()
      (self.items, self.head, self.segment) = (items, head, segment)
    }
  }

  // MARK: kills

  @Test func aKillAtAnyPointLeavesWhatTheSameStickFinishes() async throws {
    let scratch = try Scratch()
    let album = try Scratch()
    let hub = StickHub()
    let box = try await BundleBox(scratch.path + "/box")
    _ = try await box.bundles.enrollmentRequest(token: try hub.token(), actor: "test")
    try hub.publisher.publish(ggufFile(seed: 3, weights: 300_000), name: "tiny")
    let bundle = try hub.bundle(for: box, serial: 2, enrolls: true)

    // A copy of the folder is what a kill would leave at that moment.
    let taken = Mutex<[String]>([])
    let photograph: @Sendable (String) -> Void = { moment in
      taken.withLock { taken in
        let copy = "\(album.path)/\(taken.count)"
        if (try? FileManager.default.copyItem(atPath: box.path, toPath: copy)) != nil { taken.append(moment) }
      }
    }
    photograph("before the stick")
    let staged = try await box.bundles.receive(HTTPBodyOfPieces(bundle, photograph), actor: "test")
    photograph("checked")
    _ = try await box.bundles.apply(staged, actor: "test") { photograph("\($0.phase)") }
    photograph("done")
    let end = try await box.state()
    await box.close()

    let moments = taken.withLock { $0 }
    #expect(moments.count > 8)
    for (number, moment) in moments.enumerated() {
      let again = try await BundleBox("\(album.path)/\(number)")
      #expect(try DurableFile.names(in: again.path + "/bundle").isEmpty, "\(moment)")
      _ = try await again.take(bundle)
      #expect(try await again.state() == end, "\(moment)")
      await again.close()
    }
  }
}

/// A body in pieces, with a look at the world before each.
struct HTTPBodyOfPieces: AsyncSequence, Sendable {
  typealias Element = [UInt8]
  typealias Failure = any Error
  private let bytes: [UInt8]
  private let look: @Sendable (String) -> Void

  init(_ bytes: [UInt8], _ look: @escaping @Sendable (String) -> Void) {
    self.bytes = bytes
    self.look = look
  }

  struct Iterator: AsyncIteratorProtocol {
    let bytes: [UInt8]
    let look: @Sendable (String) -> Void
    var at = 0

    mutating func next() async throws -> [UInt8]? {
      guard at < bytes.count else { return nil }
      look("at byte \(at)")
      let piece = Array(bytes[at..<Swift.min(at + 300_000, bytes.count)])
      at += piece.count
      return piece
    }
  }

  func makeAsyncIterator() -> Iterator { Iterator(bytes: bytes, look: look) }
}
