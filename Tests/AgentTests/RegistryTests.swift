import FoundationEssentials
import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

@Suite struct RegistryTests {
  private let publisher = Publisher()

  @Test func bringsAModelInAndFindsItAgainAfterARestart() async throws {
    let box = try RegistryBox()
    let bytes = ggufFile(seed: 1)
    let manifest = try publisher.publish(bytes, name: "tiny", version: "1.0")
    let registry = try await box.open()
    let seen = Mutex<[SyncProgress]>([])

    let result = try await registry.reconcile(
      trusted: try await publisher.trusted(), desired: nil, source: publisher
    ) { progress in seen.withLock { $0.append(progress) } }
    #expect(result.activated == ["tiny:1.0"])
    #expect(result.failures.isEmpty)
    #expect(result.fetchedBytes > UInt64(bytes.count) / 2)
    let path = try await registry.verifiedPath("tiny")
    #expect(try DurableFile.read(path) == bytes)
    #expect(await registry.installed().first?.signers == [TUFKey(ed25519: publisher.targetsKey.verifyingKey).keyID])
    #expect(box.events() == ["activated"])

    let phases = seen.withLock { $0 }
    #expect(phases.contains { $0.phase == .download && $0.done == manifest.length && $0.total == manifest.length })
    #expect(
      phases.filter { $0.phase == .download }.map(\.done)
        == phases.filter { $0.phase == .download }.map(\.done).sorted())

    let again = try await box.open()
    #expect(await again.installed().map(\.state) == [.active])
    #expect(try await again.verifiedPath("tiny:1.0") == path)
  }

  @Test func aSecondReconciliationFetchesNothing() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    publisher.set(.goneAfter(0))
    let result = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    #expect(!result.isChanged)
    #expect(await registry.needsWork(desired: nil) == false)
  }

  @Test func aFileThatTookTheNameIsNotTheOneThatWasMeant() async throws {
    let box = try RegistryBox()
    let first = try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    _ = try await registry.verifiedPath(first.label, sha256: first.sha256)

    let second = try publisher.publish(ggufFile(seed: 2), name: "tiny")
    #expect(second.label == first.label)
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    do {
      _ = try await registry.verifiedPath(first.label, sha256: first.sha256)
      Issue.record("another file was handed out")
    } catch RegistryError.replaced {}
    _ = try await registry.verifiedPath(second.label, sha256: second.sha256)
  }

  @Test func unknownAndUnreadyModelsAreToldApart() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    await #expect(throws: RegistryError.self) { try await registry.verifiedPath("tiny") }
    publisher.set(.goneAfter(2))
    await #expect(throws: Publisher.Gone.self) {
      try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    }
    do {
      _ = try await registry.resolve("tiny")
      Issue.record("resolved")
    } catch RegistryError.notReady(let model, .fetching) {
      #expect(model == "tiny:1")
    }
    do {
      _ = try await registry.resolve("other")
      Issue.record("resolved")
    } catch RegistryError.unknownModel(let name) {
      #expect(name == "other")
    }
  }

  @Test func aDownloadGoesOnWhereTheNetworkLeftIt() async throws {
    let box = try RegistryBox()
    let manifest = try publisher.publish(ggufFile(seed: 2, weights: 2_000_000), name: "tiny")
    let trusted = try await publisher.trusted()
    publisher.set(.goneAfter(10))
    let first = try await box.open()
    await #expect(throws: Publisher.Gone.self) {
      try await first.reconcile(trusted: trusted, desired: nil, source: publisher)
    }
    let before = Set(publisher.asked)
    #expect(before.count >= 7)

    // As after a kill: another process opens what lies on the disk.
    publisher.set(.none)
    let second = try await box.open()
    #expect(await second.installed().map(\.state) == [.fetching])
    let result = try await second.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(result.activated == [manifest.label])
    // At most the chunks that were under way are fetched twice.
    #expect(Set(publisher.asked).intersection(before).count <= 4)
  }

  @Test func aKillBetweenFileAndRowIsMadeGood() async throws {
    let box = try RegistryBox()
    let bytes = ggufFile(seed: 3)
    let manifest = try publisher.publish(bytes, name: "tiny")
    let trusted = try await publisher.trusted()
    // The file is in its place, the row says fetching: the kill came in between.
    let first = try await box.open()
    try await first.put(
      InstalledModel(
        manifest: manifest, state: .fetching, signers: [], installedAt: nil, problem: nil, isRetired: false))
    try DurableFile.replace(box.blob(manifest.sha256), with: bytes)
    let second = try await box.open()
    _ = try await second.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(publisher.asked.isEmpty)
    _ = try await second.verifiedPath("tiny")

    // Staged, and killed before the activation.
    var staged = try await second.resolve("tiny")
    staged.state = .staged
    try await second.put(staged)
    let third = try await box.open()
    await #expect(throws: RegistryError.self) { try await third.verifiedPath("tiny") }
    #expect(try await third.reconcile(trusted: trusted, desired: nil, source: publisher).activated == ["tiny:1"])
    #expect(publisher.asked.isEmpty)
    _ = try await third.verifiedPath("tiny")
  }

  @Test func oneFlippedBitIsRefusedAndMendedWithOneChunk() async throws {
    let box = try RegistryBox()
    let bytes = ggufFile(seed: 4, weights: 2_000_000)
    let manifest = try publisher.publish(bytes, name: "tiny")
    let trusted = try await publisher.trusted()
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    try box.flip(manifest.sha256, at: 1_000_000)

    await #expect(throws: RegistryError.self) { try await registry.verifiedPath("tiny") }
    #expect(await registry.installed().map(\.state) == [.corrupt])
    #expect(box.events() == ["activated", "digest_mismatch"])
    // It stays refused, also after a restart.
    let again = try await box.open()
    do {
      _ = try await again.verifiedPath("tiny")
      Issue.record("a corrupt model was given out")
    } catch RegistryError.corrupt(let model, _) {
      #expect(model == "tiny:1")
    }

    publisher.set(.none)
    #expect(await again.needsWork(desired: nil) == false)  // it knows of no metadata: none was kept
    let result = try await again.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(result.activated == ["tiny:1"])
    #expect(publisher.asked.count == 1)
    #expect(try DurableFile.read(try await again.verifiedPath("tiny")) == bytes)
    #expect(box.events().last == "mended")
  }

  @Test func aMissingOrCutFileIsFetchedAnew() async throws {
    let box = try RegistryBox()
    let bytes = ggufFile(seed: 5)
    let manifest = try publisher.publish(bytes, name: "tiny")
    let trusted = try await publisher.trusted()
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    try DurableFile.remove(box.blob(manifest.sha256))
    #expect(await registry.needsWork(desired: nil))
    await #expect(throws: RegistryError.self) { try await registry.verifiedPath("tiny") }
    _ = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    _ = try await registry.verifiedPath("tiny")
    try DurableFile.replace(box.blob(manifest.sha256), with: Array(bytes.dropLast(5)))
    #expect(await registry.needsWork(desired: nil))
    _ = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(try DurableFile.read(try await registry.verifiedPath("tiny")) == bytes)
  }
}

@Suite struct RegistryVersionTests {
  private let publisher = Publisher()

  @Test func aNewVersionTakesOverAndTheOldOneGoes() async throws {
    let box = try RegistryBox()
    let old = ggufFile(seed: 1, weights: 2_000_000)
    var new = old
    new[1_000_000] ^= 0xFF
    let first = try publisher.publish(old, name: "tiny", version: "1.9")
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    publisher.set(.none)
    let second = try publisher.publish(new, name: "tiny", version: "1.10")
    let trusted = try await publisher.trusted()

    // While the new one is on its way the old one works.
    publisher.set(.goneAfter(0))
    await #expect(throws: Publisher.Gone.self) {
      try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    }
    #expect(try await registry.resolve("tiny").manifest == first)

    publisher.set(.none)
    let result = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(result.activated == ["tiny:1.10"])
    // Kept for a rollback.
    #expect(result.removed.isEmpty)
    #expect(publisher.asked.count == 1)  // all else came from the old version's file
    #expect(try await registry.resolve("tiny").manifest == second)
    #expect(DurableFile.exists(box.blob(first.sha256)))
    #expect(try DurableFile.names(in: box.scratch.path + "/registry/indexes").count == 2)
  }

  @Test func noModelIsTakenAwayWithoutARecord() async throws {
    let box = try RegistryBox()
    let manifest = try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    publisher.withdraw(manifest)
    let trusted = try await publisher.trusted()
    box.records.fail(true)
    await #expect(throws: Records.Broken.self) {
      try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    }
    _ = try await registry.verifiedPath("tiny")

    box.records.fail(false)
    _ = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(box.events() == ["activated", "withdrawn", "removed"])
  }

  @Test func aModelInUseIsNotRemovedUnderTheEngine() async throws {
    let box = try RegistryBox()
    let manifest = try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    publisher.withdraw(manifest)
    let trusted = try await publisher.trusted()

    box.inUse.digests.withLock { _ = $0.insert(manifest.sha256) }
    let held = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(held.removed.isEmpty)
    #expect(DurableFile.exists(box.blob(manifest.sha256)))
    // Nobody new gets it.
    await #expect(throws: RegistryError.self) { try await registry.verifiedPath("tiny") }
    #expect(await registry.needsWork(desired: nil) == false)

    box.inUse.digests.withLock { $0 = [] }
    #expect(await registry.needsWork(desired: nil))
    let freed = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(freed.removed == ["tiny:1"])
    #expect(!DurableFile.exists(box.blob(manifest.sha256)))
    #expect(await registry.needsWork(desired: nil) == false)
  }

  @Test func theHubChoosesAmongSignedModelsOnly() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1), name: "one")
    try publisher.publish(ggufFile(seed: 2), name: "two", version: "1")
    try publisher.publish(ggufFile(seed: 3), name: "two", version: "2")
    let registry = try await box.open()
    let trusted = try await publisher.trusted()
    var result = try await registry.reconcile(trusted: trusted, desired: ["two:1", "evil"], source: publisher)
    #expect(result.activated == ["two:1"])
    result = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(result.activated == ["one:1", "two:2"])
    #expect(result.removed.isEmpty)
    result = try await registry.reconcile(trusted: trusted, desired: ["two", "two:1"], source: publisher)
    #expect(await registry.installed().map(\.manifest.label) == ["two:1", "two:2"])
    #expect(try await registry.resolve("two").manifest.label == "two:2")
    #expect(try await registry.resolve("two:1").manifest.label == "two:1")
    result = try await registry.reconcile(trusted: trusted, desired: [], source: publisher)
    #expect(await registry.installed().isEmpty)
  }
}

@Suite struct RegistryTroubleTests {
  private let publisher = Publisher()

  private func failure(_ registry: ModelRegistry) async throws -> RegistryError? {
    let result = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    return result.failures.first?.error as? RegistryError
  }

  @Test func wrongBytesFromTheHubNeverGetIn() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    publisher.set(.garbageIndex)
    guard case .wrongIndex = try await failure(registry) else {
      Issue.record("index")
      return
    }
    for trouble in [Publisher.Trouble.garbageChunks, .otherChunks] {
      publisher.set(trouble)
      guard case .badChunk = try await failure(registry) else {
        Issue.record("chunk")
        return
      }
    }
    publisher.set(.missingChunks)
    guard case .notServed = try await failure(registry) else {
      Issue.record("missing")
      return
    }
    publisher.set(.none)
    #expect(try await failure(registry) == nil)
    _ = try await registry.verifiedPath("tiny")
  }

  @Test func aSignedFileThatIsNoModelIsRefusedAndNotFetchedForEver() async throws {
    let box = try RegistryBox()
    try publisher.publish([UInt8](repeating: 7, count: 300_000), name: "junk")
    try publisher.publish(ggufFile(seed: 1).dropLast(3), name: "cut")
    try publisher.publish(ggufFile(seed: 2), name: "good")
    let registry = try await box.open()
    let trusted = try await publisher.trusted()
    let first = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(first.activated == ["good:1"])
    #expect(first.failures.map(\.model) == ["cut:1", "junk:1"])
    for name in ["junk", "cut"] {
      await #expect(throws: RegistryError.self) { try await registry.verifiedPath(name) }
    }
    publisher.set(.none)
    let second = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    #expect(second.failures.count == 2)
    #expect(publisher.asked.isEmpty)
    #expect(box.events().filter { $0 == "refused" }.count == 2)
  }

  @Test func anIndexThatDoesNotMakeTheSignedFileIsGivenUp() async throws {
    let box = try RegistryBox()
    let real = ggufFile(seed: 1)
    try publisher.publish(real, name: "tiny") { $0.sha256 = Digest(of: [1]) }
    let registry = try await box.open()
    let trusted = try await publisher.trusted()
    for round in 1...4 {
      publisher.set(.none)
      let result = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
      switch result.failures.first?.error as? RegistryError {
      case .wrongDigest: #expect(round <= 3)
      case .givenUp:
        #expect(round == 4)
        #expect(publisher.asked.isEmpty)
      case let other: Issue.record("\(String(describing: other))")
      }
    }
  }

  @Test func aFullDiskIsToldBeforeTheFirstByte() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1), name: "huge") { $0.length = 1 << 60 }
    let registry = try await box.open()
    guard case .noSpace(_, let needed, let free) = try await failure(registry) else {
      Issue.record("space")
      return
    }
    #expect(needed >= 1 << 60)
    #expect(free < needed)
    #expect(publisher.asked.isEmpty)
    #expect(try DurableFile.names(in: box.scratch.path + "/registry/partial").isEmpty)
  }

  @Test func noRecordNoEffect() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    let trusted = try await publisher.trusted()
    box.records.fail(true)
    await #expect(throws: Records.Broken.self) {
      try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    }
    #expect(await registry.installed().map(\.state) == [.staged])
    box.records.fail(false)
    publisher.set(.goneAfter(0))
    #expect(try await registry.reconcile(trusted: trusted, desired: nil, source: publisher).activated == ["tiny:1"])
  }

  @Test func malformedTargetsDoNotKeepTheOthersOut() async throws {
    let box = try RegistryBox()
    publisher.state.withLock {
      $0.targets.append(TUFTarget(path: "models/x/1/x.gguf", length: 5, sha256: Digest(of: []), custom: nil))
      $0.targets.append(TUFTarget(path: "policies/default.json5", length: 5, sha256: Digest(of: []), custom: nil))
    }
    try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    let result = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    #expect(result.activated == ["tiny:1"])
    #expect(result.failures.count == 1)
  }

  @Test func twoReconciliationsDoNotMeet() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1, weights: 4_000_000), name: "tiny")
    let registry = try await box.open()
    let trusted = try await publisher.trusted()
    async let first = registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    async let second = registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    var busy = 0
    var done = 0
    do {
      _ = try await first
      done += 1
    } catch RegistryError.busy { busy += 1 }
    do {
      _ = try await second
      done += 1
    } catch RegistryError.busy { busy += 1 }
    #expect(busy == 1 && done == 1)
  }

  @Test func metadataSurvivesARestart() async throws {
    let box = try RegistryBox()
    try publisher.publish(ggufFile(seed: 1), name: "tiny")
    let registry = try await box.open()
    try await registry.trust(root: try publisher.root())
    let files = try publisher.metadata()
    let local = try #require(try await registry.metadataState())
    let trusted = try await TUFWorkflow.refresh(local: local, now: Date(timeIntervalSince1970: 1_800_000_000)) {
      name, _ in
      files[name]
    } persist: {
      try await registry.persistMetadata($0, $1)
    }
    _ = try await registry.reconcile(trusted: trusted, desired: nil, source: publisher)
    let again = try await box.open()
    #expect(await again.trusted?.timestampVersion == 1)
    #expect(await again.trusted?.targets.count == 1)
    #expect(await again.needsWork(desired: nil) == false)
    // Another root begins anew.
    try await again.trust(root: try Publisher().root())
    #expect(await again.trusted?.targets.isEmpty == true)
    #expect(try await again.metadataState()?.timestamp == nil)
    // Damaged metadata does not keep the installed models from working.
    try DurableFile.replace(box.scratch.path + "/registry/tuf/root.json", with: [1, 2, 3])
    let damaged = try await box.open()
    #expect(await damaged.trusted == nil)
    _ = try await damaged.verifiedPath("tiny")
  }
}
