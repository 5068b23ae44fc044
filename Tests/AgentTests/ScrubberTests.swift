import FoundationEssentials
import Host
import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

@Suite struct ScrubberTests {
  private final class Unloaded: Sendable {
    let digests = Mutex<[Digest]>([])
  }

  private let publisher = Publisher()
  private let unloaded = Unloaded()

  private func scrubber(_ registry: ModelRegistry, _ box: RegistryBox, rate: UInt64 = 1 << 30) -> Scrubber {
    var policy = StorePolicy()
    policy.scrubBytesPerSecond = rate
    return Scrubber(
      registry: registry, policy: policy, audit: box.records.writer,
      onDamage: { [unloaded] digest in unloaded.digests.withLock { $0.append(digest) } }, now: { 1_800_000_000 })
  }

  private func filled(_ box: RegistryBox, models: Int = 2) async throws -> (ModelRegistry, [ModelManifest]) {
    let registry = try await box.open()
    let manifests = try (1...models).map {
      try publisher.publish(ggufFile(seed: UInt64($0), weights: 1_500_000), name: "m\($0)")
    }
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    return (registry, manifests)
  }

  @Test func findsOneBitAndHasItMendedByOneChunk() async throws {
    let box = try RegistryBox()
    let (registry, manifests) = try await filled(box)
    let scrubber = scrubber(registry, box)
    var status = try await scrubber.scrubNow()
    #expect(status.damaged.isEmpty && status.done == status.total && status.total == 2 * manifests[0].length)
    #expect(status.finishedAt == 1_800_000_000 && !status.isRunning)
    #expect(box.records.of("store").first?.fields["event"] == "scrubbed")

    try box.flip(manifests[1].sha256, at: 1_000_000)
    status = try await scrubber.scrubNow()
    #expect(status.damaged == ["m2:1"])
    #expect(await registry.installed().map(\.state) == [.active, .corrupt])
    #expect(unloaded.digests.withLock { $0 } == [manifests[1].sha256])
    #expect(box.events().last == "scrub_mismatch")
    #expect(box.records.of("store").last?.fields["damaged"] == ["m2:1"])
    await #expect(throws: RegistryError.self) { try await registry.verifiedFile("m2") }

    publisher.set(.none)
    let result = try await registry.reconcile(
      trusted: try await publisher.trusted(), desired: nil, source: publisher)
    #expect(result.activated == ["m2:1"] && publisher.asked.count == 1)
    #expect(try await scrubber.scrubNow().damaged.isEmpty)
  }

  @Test func missingCutAndIndexlessFilesAreFoundToo() async throws {
    let box = try RegistryBox()
    let (registry, manifests) = try await filled(box, models: 4)
    try DurableFile.remove(box.blob(manifests[0].sha256))
    let bytes = try #require(try DurableFile.read(box.blob(manifests[1].sha256)))
    try DurableFile.replace(box.blob(manifests[1].sha256), with: bytes + [0])
    try DurableFile.remove(await registry.store.indexPath(#require(manifests[2].indexDigest)))
    try box.flip(manifests[2].sha256, at: 77)
    try DurableFile.remove(await registry.store.indexPath(#require(manifests[3].indexDigest)))
    let status = try await scrubber(registry, box).scrubNow()
    #expect(Set(status.damaged) == ["m1:1", "m2:1", "m3:1"])
  }

  @Test func goesOnWhereItWasAfterARestart() async throws {
    let box = try RegistryBox()
    let (registry, manifests) = try await filled(box, models: 3)
    let ordered = manifests.map(\.sha256.hex).sorted()
    // It was killed in the second file, behind the first chunk.
    var place = ScrubPlace(startedAt: 5)
    (place.file, place.offset) = (ordered[1], 300_000)
    try await place.save(await registry.database)
    #expect(try await ScrubPlace.load(await registry.database) == place)
    // What lies before the place is not read in this pass; what lies behind is.
    let first = try #require(manifests.first { $0.sha256.hex == ordered[0] })
    let second = try #require(manifests.first { $0.sha256.hex == ordered[1] })
    try box.flip(first.sha256, at: 100)
    try box.flip(second.sha256, at: 1_400_000)
    let scrubber = scrubber(registry, box)
    #expect(try await scrubber.scrubNow().damaged == [second.label])
    #expect(try await scrubber.scrubNow().damaged == [first.label])
  }

  @Test func keepsItsPaceAndCanBeStopped() async throws {
    let box = try RegistryBox()
    let (registry, manifests) = try await filled(box, models: 1)
    // 1.5 MB at 1 MB/s.
    let gentle = scrubber(registry, box, rate: 1_000_000)
    let began = Clock.monotonic()
    let task = Task { await gentle.run() }
    while await gentle.state().finishedAt == nil, Clock.monotonic() - began < .seconds(30) {
      try await Task.sleep(for: .milliseconds(20))
    }
    #expect(Clock.monotonic() - began >= .seconds(Double(manifests[0].length) / 1_000_000 * 0.9))
    #expect(box.records.of("store").count == 1)
    task.cancel()
    await task.value

    // One that is stopped in the middle has a place to go on from.
    try await ScrubPlace().save(await registry.database)
    let slow = scrubber(registry, box, rate: 1000)
    let stopped = Task { await slow.run() }
    try await Task.sleep(for: .milliseconds(300))
    stopped.cancel()
    await stopped.value
    #expect(box.records.of("store").count == 1)
  }
}
