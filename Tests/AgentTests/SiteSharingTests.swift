import Fleet
import Models
import Storage
import Synchronization
import Testing
import Trust
import Web

@testable import Agent

/// Boxes of one site that share what they fetch, over real connections.
@Suite(.serialized) struct SiteSharingTests {
  private let publisher = Publisher()
  private static let size = 3_000_000

  private func published() async throws -> (ModelManifest, [UInt8], TrustedMetadata) {
    let bytes = ggufFile(seed: 7, weights: SiteSharingTests.size)
    let manifest = try publisher.publish(bytes, name: "tiny")
    return (manifest, bytes, try await publisher.trusted())
  }

  private func check(_ fixture: SiteFixture, _ manifest: ModelManifest, _ bytes: [UInt8]) async throws {
    for box in fixture.boxes {
      #expect(try DurableFile.read(try await box.registry.verifiedPath("tiny"), limit: 1 << 30) == bytes)
    }
  }

  @Test func boxesThatSyncAtTheSameTimeFetchOneCopy() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher)
    let fixture = try await SiteFixture(4)
    for result in try await fixture.sync(hub, trusted) { #expect(result.activated == ["tiny:1"]) }
    try await check(fixture, manifest, bytes)
    let fetched = hub.chunks
    let twice = fetched.values.filter { $0 > 1 }.count
    // Boxes that learn of each other a moment late may both fetch what was under way just then.
    #expect(twice * 10 <= fetched.count, "\(twice) of \(fetched.count) chunks were fetched more than once")
    #expect(Double(hub.bytes) <= 1.1 * Double(bytes.count))
    for box in fixture.boxes { #expect(box.files.records.of("attack").isEmpty) }
    await fixture.stop()
  }

  @Test func aBoxThatComesLaterTakesNothingFromTheHub() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher)
    let fixture = try await SiteFixture(3)
    _ = try await fixture.boxes[0].sync(hub, trusted)
    hub.forget()
    // Not even its index: the hub is gone.
    hub.goAway()
    _ = try await fixture.boxes[1].sync(hub, trusted)
    _ = try await fixture.boxes[2].sync(hub, trusted)
    try await check(fixture, manifest, bytes)
    #expect(hub.bytes == 0)
    let (first, second) = (try #require(fixture.boxes[1].record(of: "box-0")), fixture.boxes[2].record(of: "box-1"))
    #expect(first.takenBytes > UInt64(bytes.count) / 2)
    #expect((second?.takenChunks ?? 0) > 0)
    let sessions = fixture.boxes[0].files.records.of("site")
    #expect(sessions.first?.fields["event"] == "session")
    #expect(Set(sessions.compactMap { $0.fields["neighbour"]?.string }) == ["box-1", "box-2"])
    await fixture.stop()
  }

  @Test func aDamagedModelIsMendedFromANeighbour() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher)
    let fixture = try await SiteFixture(2)
    _ = try await fixture.sync(hub, trusted)
    hub.goAway()
    let box = fixture.boxes[0]
    try box.files.flip(manifest.sha256, at: 1_500_000)
    #expect(try await box.registry.verify("tiny") == false)
    let before = box.record(of: "box-1")?.takenChunks ?? 0
    #expect(try await box.sync(hub, trusted).activated == ["tiny:1"])
    try await check(fixture, manifest, bytes)
    #expect(box.record(of: "box-1")?.takenChunks == before + 1)
    await fixture.stop()
  }

  @Test func withoutAHubOnlyWhatWasActiveIsMended() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher)
    let fixture = try await SiteFixture(2)
    _ = try await fixture.sync(hub, trusted)
    let box = fixture.boxes[0]
    let mender = SiteMender(registry: box.registry, site: box.site)
    #expect(await box.registry.mendable().isEmpty)
    // Another model is signed and half here: it stays as it is.
    let next = try publisher.publish(ggufFile(seed: 8, weights: 200_000), name: "next")
    publisher.set(.goneAfter(1))
    _ = try? await box.sync(hub, try await publisher.trusted())
    publisher.set(.none)

    try box.files.flip(manifest.sha256, at: 700_000)
    #expect(try await box.registry.verify("tiny") == false)
    #expect(await box.registry.mendable().map(\.manifest) == [manifest])
    await mender.begin(hub: "hub")
    await mender.finish()
    #expect(await box.registry.mendable().isEmpty)
    try await check(fixture, manifest, bytes)
    #expect(box.files.events().suffix(2) == ["digest_mismatch", "mended"])
    #expect(await box.registry.installed().first { $0.manifest == next }?.state == .fetching)

    // A file that is gone, and nobody who has it.
    try DurableFile.remove(box.files.blob(manifest.sha256))
    await fixture.boxes[1].site.stop()
    await mender.begin(hub: "hub")
    await mender.finish()
    #expect(await box.registry.mendable().map(\.manifest) == [manifest])
    await fixture.stop()
  }

  @Test(arguments: ["noise", "another chunk", "too long", "empty", "index"])
  func aLiarCostsARetryAndNeverAWrongByte(_ lie: String) async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher, delay: .zero)
    let asked = Mutex(0)
    let falseBytes: [UInt8] =
      switch lie {
      case "noise": [UInt8](repeating: 0x55, count: 3000)
      case "another chunk": try Zstd.compress(Array("another".utf8))
      case "too long": try Zstd.compress([UInt8](repeating: 0, count: 8 << 20))
      default: []
      }
    let fixture = try await SiteFixture(
      3,
      standIns: [
        2: standIn(.whole) { request in
          asked.withLock { $0 += 1 }
          let isIndex = request.path.hasSuffix("/index")
          return isIndex == (lie == "index") ? HTTPResponse(status: 200, body: .bytes(falseBytes)) : .empty(404)
        }
      ])
    for result in try await fixture.sync(hub, trusted) { #expect(result.activated == ["tiny:1"]) }
    try await check(fixture, manifest, bytes)
    for box in fixture.boxes {
      let attacks = box.files.records.of("attack")
      // The other box may have been asked for the index first.
      if lie == "index", attacks.isEmpty { continue }
      #expect(attacks.map { $0.fields["attack"]?.string } == ["lying-neighbour"])
      #expect(attacks.first?.fields["reason"]?.string?.contains("box-2") == true)
      #expect((box.record(of: "box-2")?.conduct.lies ?? 0) >= 1)
      #expect(box.record(of: "box-2")?.takenChunks == 0)
    }
    // What was under way when the first lie showed, and the index.
    #expect(asked.withLock { $0 } <= 2 * 8)
    await fixture.stop()
  }

  @Test func aNeighbourThatHangsIsWaitedForOnce() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher, delay: .zero)
    let asked = Mutex(0)
    let patience = SitePatience(
      connect: .seconds(3), answer: .seconds(5), chunk: .milliseconds(1500), comeAgain: .seconds(3))
    let fixture = try await SiteFixture(
      3, patience: patience,
      standIns: [
        2: standIn(.fetching) { _ in
          asked.withLock { $0 += 1 }
          try await Task.sleep(for: .seconds(30))
          return .empty(404)
        }
      ])
    for result in try await fixture.sync(hub, trusted) { #expect(result.activated == ["tiny:1"]) }
    try await check(fixture, manifest, bytes)
    #expect(asked.withLock { $0 } <= 2 * 8)
    for box in fixture.boxes { #expect(box.record(of: "box-2")?.conduct.lastTrouble == .slow) }
    await fixture.stop()
  }

  @Test func aNeighbourThatPromisesForEverIsLeftAlone() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher, delay: .zero)
    let patience = SitePatience(
      connect: .seconds(3), answer: .seconds(5), chunk: .seconds(5), comeAgain: .milliseconds(600))
    let fixture = try await SiteFixture(
      2, patience: patience,
      standIns: [
        1: standIn(.fetching) { _ in throw HTTPFailure(503, SiteServer.fetching, "soon") }
      ])
    #expect(try await fixture.sync(hub, trusted).first?.activated == ["tiny:1"])
    try await check(fixture, manifest, bytes)
    #expect(fixture.boxes[0].record(of: "box-1")?.conduct.lastTrouble == .slow)
    await fixture.stop()
  }

  @Test func aNeighbourWithoutWhatItClaimsIsLeftAlone() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher, delay: .zero)
    let asked = Mutex(0)
    let fixture = try await SiteFixture(
      2,
      standIns: [
        1: standIn(.whole) { _ in
          asked.withLock { $0 += 1 }
          return .empty(404)
        }
      ])
    #expect(try await fixture.sync(hub, trusted).first?.activated == ["tiny:1"])
    try await check(fixture, manifest, bytes)
    #expect(asked.withLock { $0 } <= NeighbourConduct.forgivenMisses + 8)
    await fixture.stop()
  }

  @Test func aNeighbourWithAnotherKeyOrNoneIsPassedBy() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher, delay: .zero)
    let other = SigningKey.generate()
    let fixture = try await SiteFixture(4) { configuration in
      // Where box-2 and box-3 listen, others are expected: the one shows another key, at the other nobody listens.
      configuration.neighbours[2].key = other.verifyingKey
      configuration.neighbours[3].address = "127.0.0.1:1"
    }
    for result in try await fixture.sync(hub, trusted) { #expect(result.activated == ["tiny:1"]) }
    try await check(fixture, manifest, bytes)
    #expect(fixture.boxes[0].record(of: "box-2")?.conduct.lastTrouble == .refused)
    #expect(fixture.boxes[0].record(of: "box-3")?.conduct.lastTrouble == .failed)
    #expect(fixture.boxes[0].record(of: "box-2")?.takenChunks == 0)
    #expect(fixture.boxes[0].record(of: "box-2")?.servedChunks == 0)
    await fixture.stop()
  }

  @Test func theLimitOfBytesPerSecondHolds() async throws {
    let (manifest, bytes, trusted) = try await published()
    let hub = CountingHub(publisher, delay: .zero)
    let fixture = try await SiteFixture(2) { $0.bytesPerSecond = 1_000_000 }
    _ = try await fixture.boxes[0].sync(hub, trusted)
    hub.goAway()
    let began = ContinuousClock.now
    _ = try await fixture.boxes[1].sync(hub, trusted)
    let seconds = (ContinuousClock.now - began) / .seconds(1)
    // Three megabytes, the last chunk of which goes out a moment before its time is over.
    #expect(seconds >= Double(bytes.count - 262_144) / 1_000_000)
    try await check(fixture, manifest, bytes)
    await fixture.stop()
  }

  @Test func whereThereAreNoNeighboursTheHubIsTheSource() async throws {
    let hub = CountingHub(publisher)
    let fixture = try await SiteFixture(1)
    #expect(fixture.boxes[0].site.source(over: hub) is CountingHub)
    #expect(!fixture.boxes[0].site.isServing)
    await fixture.stop()
  }
}
