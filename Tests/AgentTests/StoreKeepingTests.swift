import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// A clock that a test turns by hand.
final class HandClock: Sendable {
  private let seconds = Mutex<Int64>(1_800_000_000)
  var now: Int64 { seconds.withLock { $0 } }
  func advance(_ by: Int64) { seconds.withLock { $0 += by } }
}

@Suite struct StoreKeepingTests {
  private let publisher = Publisher()
  private let clock = HandClock()

  private func open(_ box: RegistryBox, quota: UInt64 = 0, keepPrevious: Bool = true) async throws -> ModelRegistry {
    var policy = StorePolicy()
    policy.quotaBytes = quota
    policy.keepPrevious = keepPrevious
    let database = try Database(path: box.scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let inUse = box.inUse
    return try await ModelRegistry.open(
      database: database, directory: box.scratch.path + "/registry", audit: box.records.writer,
      isInUse: { manifest in inUse.digests.withLock { $0.contains(manifest.sha256) } }, policy: policy,
      now: { [clock] in clock.now })
  }

  private func later(_ seconds: Int64 = 100) { clock.advance(seconds) }

  private func sync(_ registry: ModelRegistry, _ desired: [String]? = nil) async throws -> ReconcileResult {
    later()
    return try await registry.reconcile(trusted: try await publisher.trusted(), desired: desired, source: publisher)
  }

  private func blobs(_ box: RegistryBox) throws -> Set<String> {
    Set(try DurableFile.names(in: box.scratch.path + "/registry/blobs/sha256"))
  }

  @Test func theVersionBeforeStaysForARollbackThatNeedsNoNetwork() async throws {
    let box = try RegistryBox()
    let registry = try await open(box)
    let manifests = try (1...3).map { number -> ModelManifest in
      try publisher.publish(ggufFile(seed: UInt64(number)), name: "tiny", version: "\(number)")
    }
    for number in 1...3 { _ = try await sync(registry, ["tiny:\(number)"]) }
    #expect(try blobs(box) == [manifests[1].sha256.hex, manifests[2].sha256.hex])
    #expect(await registry.installed().map(\.manifest) == [manifests[2]])
    #expect(await registry.needsWork(desired: ["tiny:3"]) == false)
    let dry = try await registry.collect(isDryRun: true)
    #expect(dry.removed.isEmpty && dry.files == 0)
    #expect(dry.kept == ["tiny:2": .previous])

    publisher.set(.goneAfter(0))
    let back = try await sync(registry, ["tiny:2"])
    #expect(back.activated == ["tiny:2"] && back.fetchedBytes == 0)
    #expect(try await registry.verifiedFile("tiny").digest == manifests[1].sha256)
    // The one that was rolled back is the one before now.
    #expect(try await registry.collect().kept == ["tiny:3": .previous])
    // Nothing of the name is wanted any more: both go.
    let gone = try await sync(registry, [])
    #expect(Set(gone.removed) == ["tiny:2", "tiny:3"])
    #expect(try blobs(box).isEmpty)
  }

  @Test func aPinnedModelStaysWhateverHappens() async throws {
    let box = try RegistryBox()
    let registry = try await open(box)
    let manifest = try publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await sync(registry)
    _ = try await registry.setPin("tiny:1", true, by: "uid:0(root)")
    publisher.withdraw(manifest)
    #expect(try await sync(registry).removed.isEmpty)
    #expect(try await registry.collect().kept == ["tiny:1": .pinned])
    #expect(try blobs(box) == [manifest.sha256.hex])
    // It is withdrawn all the same.
    await #expect(throws: RegistryError.self) { try await registry.verifiedFile("tiny") }
    // Also after a restart.
    let again = try await open(box)
    #expect(try await again.collect(isDryRun: true).removed.isEmpty)
    _ = try await again.setPin("tiny:1", false, by: "uid:0(root)")
    #expect(try await again.collect(isDryRun: true).removed == ["tiny:1"])
    #expect(try blobs(box) == [manifest.sha256.hex], "a dry run removes nothing")
    #expect(try await again.collect().removed == ["tiny:1"])
    #expect(try blobs(box).isEmpty)
    #expect(box.events() == ["activated", "pinned", "withdrawn", "unpinned", "removed"])
    await #expect(throws: RegistryError.self) { try await again.setPin("tiny:1", true, by: "x") }
  }

  @Test func oneFileForTwoNames() async throws {
    let box = try RegistryBox()
    let registry = try await open(box)
    let bytes = ggufFile(seed: 1)
    let one = try publisher.publish(bytes, name: "one")
    let two = try publisher.publish(bytes, name: "two")
    #expect(one.sha256 == two.sha256)
    _ = try await sync(registry)
    #expect(try blobs(box) == [one.sha256.hex])
    publisher.withdraw(one)
    #expect(try await sync(registry).removed == ["one:1"])
    #expect(try await registry.verifiedFile("two").digest == two.sha256)
    publisher.withdraw(two)
    _ = try await sync(registry)
    #expect(try blobs(box).isEmpty)
  }

  @Test func theQuotaTakesTheLeastRecentlyUsedAndRemembers() async throws {
    let box = try RegistryBox()
    // Two models of 0.6 MB and their indexes.
    let registry = try await open(box, quota: 1_500_000)
    let old = try publisher.publish(ggufFile(seed: 1), name: "old")
    let mid = try publisher.publish(ggufFile(seed: 2), name: "mid")
    #expect(try await sync(registry).activated == ["mid:1", "old:1"])
    later()
    await registry.noteUse(old.sha256)
    let new = try publisher.publish(ggufFile(seed: 3), name: "new")
    let result = try await sync(registry)
    #expect(result.activated == ["new:1"] && result.failures.isEmpty)
    #expect(try blobs(box) == [old.sha256.hex, new.sha256.hex], "the use counts, not the age")
    #expect(try await registry.size().used <= 1_500_000)
    #expect(box.events().contains("evicted"))

    // The next sync does not fetch it again, also not after a restart.
    let again = try await open(box, quota: 1_500_000)
    #expect(await again.needsWork(desired: nil) == false)
    #expect(try await sync(again).activated.isEmpty)
    do {
      _ = try await again.resolve("mid")
      Issue.record("resolved")
    } catch RegistryError.evicted(let label) { #expect(label == "mid:1") }
    // Who asks for it has it back with the next sync; the least recently used of the others goes instead.
    later()
    await again.noteUse(new.sha256)
    #expect(try await again.recall("mid"))
    #expect(await again.needsWork(desired: nil))
    #expect(try await sync(again).activated == ["mid:1"])
    #expect(try blobs(box) == [mid.sha256.hex, new.sha256.hex])
    #expect(await again.evicted().map(\.manifest) == [old])
    // What nobody wants any more is no eviction.
    publisher.withdraw(old)
    _ = try await sync(again)
    #expect(await again.evicted().isEmpty)
    #expect(try await again.recall("old") == false)
  }

  @Test func aFirstSyncOverTheQuotaDoesNotPushOutWhatItJustBrought() async throws {
    let box = try RegistryBox()
    let registry = try await open(box, quota: 1_500_000)
    for (number, name) in ["a", "b", "c"].enumerated() {
      try publisher.publish(ggufFile(seed: UInt64(number)), name: name)
    }
    let result = try await sync(registry)
    #expect(result.activated == ["a:1", "b:1"])
    guard case .noRoom("c:1", _, _, 1_500_000)? = result.failures.first?.error as? RegistryError else {
      Issue.record("\(result.failures)")
      return
    }
    #expect(await registry.installed().map(\.manifest.label) == ["a:1", "b:1"])
    #expect(box.events() == ["activated", "activated"])
  }

  @Test func theQuotaTakesNothingThatIsPinnedOrOpen() async throws {
    let box = try RegistryBox()
    let registry = try await open(box, quota: 1_500_000)
    let one = try publisher.publish(ggufFile(seed: 1), name: "one")
    let two = try publisher.publish(ggufFile(seed: 2), name: "two")
    _ = try await sync(registry)
    _ = try await registry.setPin("one", true, by: "x")
    box.inUse.digests.withLock { _ = $0.insert(two.sha256) }
    try publisher.publish(ggufFile(seed: 3), name: "three")
    let result = try await sync(registry)
    #expect(result.failures.count == 1 && result.activated.isEmpty)
    #expect(try blobs(box) == [one.sha256.hex, two.sha256.hex])
    box.inUse.digests.withLock { $0 = [] }
    #expect(try await sync(registry).activated == ["three:1"])
    #expect(await registry.evicted().map(\.manifest) == [two])
  }

  @Test func evictionIsOnRecordBeforeAnythingGoes() async throws {
    let box = try RegistryBox()
    let registry = try await open(box, quota: 700_000)
    let one = try publisher.publish(ggufFile(seed: 1), name: "one")
    _ = try await sync(registry)
    try publisher.publish(ggufFile(seed: 2), name: "two")
    let trusted = try await publisher.trusted()
    box.records.fail(true)
    later()
    await #expect(throws: Records.Broken.self) {
      try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    }
    _ = try await registry.verifiedFile("one")
    #expect(try blobs(box).contains(one.sha256.hex))
  }

  @Test func filesThatNoRowNamesGo() async throws {
    let box = try RegistryBox()
    let registry = try await open(box)
    let manifest = try publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await sync(registry)
    let root = box.scratch.path + "/registry"
    let stray = Digest(of: [9]).hex
    for path in ["blobs/sha256/\(stray)", "partial/\(stray)", "indexes/\(stray).caibx"] {
      try DurableFile.replace("\(root)/\(path)", with: [UInt8](repeating: 1, count: 5_000))
    }
    let dry = try await registry.collect(isDryRun: true)
    #expect(dry.files == 3 && dry.bytes >= 15_000)
    #expect(try await registry.collect() == dry)
    #expect(try blobs(box) == [manifest.sha256.hex])
    #expect(try await registry.collect().files == 0)
    _ = try await registry.verifiedFile("tiny")
  }

  @Test func usesAreWrittenDownOnceAMinute() async throws {
    let box = try RegistryBox()
    let registry = try await open(box)
    let manifest = try publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await sync(registry)
    let start = clock.now
    for _ in 0..<10 { await registry.noteUse(manifest.sha256) }
    later(59)
    await registry.noteUse(manifest.sha256)
    let again = try await open(box)
    let model = try #require(await again.installed().first)
    #expect(await again.lastUse(model) == start)
    later(1)
    await again.noteUse(manifest.sha256)
    #expect(await again.lastUse(model) == start + 60)
  }
}
