import Fleet
import FoundationEssentials
import Models
import Storage
import Testing
import Trust

@testable import Agent

/// A registry that believes no row without signed metadata, filled as a sync fills it.
struct VouchedBox {
  let box: RegistryBox
  let publisher = Publisher()
  let device: DeviceID

  init() throws {
    box = try RegistryBox()
    device = try DeviceIdentity.open(directory: box.scratch.path + "/keys").id
  }

  var registry: String { box.scratch.path + "/registry" }

  func open() async throws -> ModelRegistry {
    let database = try Database(path: box.scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let root = try publisher.root()
    return try await ModelRegistry.open(
      database: database, directory: registry, audit: box.records.writer,
      vouching: Vouching(device: device) { Digest(of: root) }, now: { 1_800_000_000 })
  }

  /// Publishes, keeps the metadata and reconciles.
  func sync(_ desired: [String]? = nil) async throws -> (ModelRegistry, ReconcileResult) {
    try publisher.keepMetadata(for: device, in: registry)
    let opened = try await open()
    let result = try await opened.reconcile(
      trusted: try #require(await opened.trusted), desired: desired, source: publisher)
    return (opened, result)
  }

  func attacks() -> [String] { box.records.of("attack").compactMap { $0.fields["attack"]?.string } }
}

@Suite struct VoucherTests {
  @Test func aModelRunsOnTheSignedMetadataThatAdmittedIt() async throws {
    let vouched = try VouchedBox()
    let manifest = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    let (_, result) = try await vouched.sync()
    #expect(result.activated == ["tiny:1"])
    let kept = try DurableFile.names(in: vouched.registry + "/admitted")
    #expect(kept.count == 3)
    // Offline, after a restart, and even when the current metadata is gone.
    try MetadataStore(directory: vouched.registry + "/tuf").persist("targets.json", nil)
    let again = try await vouched.open()
    await again.checkVouchers()
    #expect(try await again.verifiedFile("tiny").digest == manifest.sha256)
    #expect(vouched.attacks().isEmpty)
  }

  @Test func aRowThatNobodySignedForIsRefused() async throws {
    let vouched = try VouchedBox()
    _ = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    let (registry, _) = try await vouched.sync()
    // An attacker puts a file of their own in the store, and rows that name it, in every way a database allows.
    let foreign = ggufFile(seed: 666)
    let digest = Digest(of: foreign)
    try DurableFile.replace(await registry.store.blobPath(digest), with: foreign)
    for statement in [
      "UPDATE models SET sha256 = '\(digest.hex)', length = \(foreign.count)",
      "UPDATE models SET sha256 = '\(digest.hex)'; UPDATE vouchers SET sha256 = '\(digest.hex)'",
      "UPDATE models SET sha256 = '\(digest.hex)', length = \(foreign.count); UPDATE vouchers SET sha256 = '\(digest.hex)'",
      "DELETE FROM vouchers", "UPDATE vouchers SET note = '{}'",
      "UPDATE models SET name = 'evil', path = 'models/evil/1/tiny.gguf', custom = replace(custom, '\"tiny\"', '\"evil\"')",
    ] {
      let copy = try Scratch()
      try FileManager.default.copyItem(atPath: vouched.box.scratch.path, toPath: copy.path + "/x")
      let database = try Database(path: copy.path + "/x/agent.sqlite", migrations: AgentDatabase.migrations)
      try await database.write { connection in
        for part in statement.split(separator: ";") { try connection.execute(String(part)) }
      }
      let records = Records()
      let root = try vouched.publisher.root()
      let opened = try await ModelRegistry.open(
        database: database, directory: copy.path + "/x/registry", audit: records.writer,
        vouching: Vouching(device: vouched.device) { Digest(of: root) }, now: { 1_800_000_000 })
      let name = try #require(await opened.installed().first?.name.description)
      await #expect(throws: RegistryError.self, "\(statement)") { try await opened.verifiedFile(name) }
      #expect(records.of("attack").map { $0.fields["attack"] } == ["foreign-image"], "\(statement)")
      #expect(await opened.installed().first?.state == .corrupt)
      // The start finds it as well, before anybody asks; the next sync brings what is signed.
      database.close()
    }
  }

  @Test func forgedMetadataBesideForgedRowsIsRefused() async throws {
    let vouched = try VouchedBox()
    let honest = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await vouched.sync()
    // Another publisher's whole repository and director, consistent in themselves.
    let thief = Publisher()
    let foreign = ggufFile(seed: 666)
    let manifest = try thief.publish(foreign, name: "tiny")
    try thief.keepMetadata(for: vouched.device, in: vouched.registry)
    let registry = try await vouched.open()
    try DurableFile.replace(await registry.store.blobPath(manifest.sha256), with: foreign)
    let row = InstalledModel(
      manifest: manifest, state: .active, signers: [], installedAt: 1, problem: nil, isRetired: false)
    try await registry.put(row)
    try await registry.forget(await registry.installed().filter { $0.manifest == honest })
    await #expect(throws: RegistryError.self) { try await registry.vouch(for: manifest) }
    // And a voucher made of it by hand.
    let trusted = try #require(await registry.trusted?.targetsMetadata?.document.bytes)
    let director = try #require(await registry.director)
    let files = [trusted, director.root.document.bytes, try #require(director.targetsMetadata?.document.bytes)]
    for bytes in files {
      try DurableFile.replace("\(vouched.registry)/admitted/\(Digest(of: bytes).hex).json", with: bytes)
    }
    let digests = files.map { Digest(of: $0) }
    let note = VoucherNote(
      root: 1, roles: ["targets"], lists: [digests[0]], directorRoot: digests[1], directorTargets: digests[2])
    try await registry.database.write { try VoucherNote.put(note, VoucherNote.Key(manifest), $0) }
    let opened = try await vouched.open()
    await #expect(throws: RegistryError.self) { try await opened.verifiedFile("tiny") }
    #expect(vouched.attacks() == ["foreign-image"])
  }

  @Test func inADisputeTheOldVoucherStays() async throws {
    let vouched = try VouchedBox()
    let manifest = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await vouched.sync()
    // The director's newer word is for another box: it vouches for nothing here, and takes nothing away.
    let other = try DeviceIdentity.open(directory: vouched.box.scratch.path + "/other").id
    try vouched.publisher.keepMetadata(for: other, in: vouched.registry)
    let registry = try await vouched.open()
    try await registry.renewVoucher(manifest)
    let again = try await vouched.open()
    #expect(try await again.verifiedFile("tiny").digest == manifest.sha256)
    #expect(vouched.attacks().isEmpty)
  }

  @Test func anotherBoxesDirectorVouchesForNothing() async throws {
    let vouched = try VouchedBox()
    let manifest = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    let other = try DeviceIdentity.open(directory: vouched.box.scratch.path + "/other").id
    try vouched.publisher.keepMetadata(for: other, in: vouched.registry)
    let registry = try await vouched.open()
    _ = try await registry.reconcile(
      trusted: try #require(await registry.trusted), desired: nil, source: vouched.publisher)
    await #expect(throws: RegistryError.self) { try await registry.verifiedFile("tiny", sha256: manifest.sha256) }
  }

  @Test func newerMetadataTakesOverAndTheOlderGoes() async throws {
    let vouched = try VouchedBox()
    _ = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await vouched.sync()
    let before = Set(try DurableFile.names(in: vouched.registry + "/admitted"))
    _ = try vouched.publisher.publish(ggufFile(seed: 2), name: "more")
    let (registry, result) = try await vouched.sync()
    #expect(result.activated == ["more:1"])
    let after = Set(try DurableFile.names(in: vouched.registry + "/admitted"))
    // The director's root is the same.
    #expect(after.count == 3 && after.intersection(before).count <= 1)
    _ = try await registry.verifiedFile("tiny")
    _ = try await registry.verifiedFile("more")
  }

  @Test func theChainOfRootsLeadsFromTheEnrolment() async throws {
    let vouched = try VouchedBox()
    _ = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await vouched.sync()
    let roots = vouched.registry + "/tuf/roots"
    #expect(try DurableFile.names(in: roots) == ["1.root.json"])
    // Another root under the name of the first.
    try DurableFile.replace(roots + "/1.root.json", with: try Publisher().root())
    let registry = try await vouched.open()
    await registry.checkVouchers()
    #expect(await registry.installed().map(\.state) == [.corrupt])
    #expect(await registry.installed().first?.problem?.contains("enrolled with") == true)
  }

  @Test func withoutAnEnrolmentNothingRuns() async throws {
    let vouched = try VouchedBox()
    _ = try vouched.publisher.publish(ggufFile(seed: 1), name: "tiny")
    _ = try await vouched.sync()
    let registry = try await ModelRegistry.open(
      database: try Database(path: vouched.box.scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations),
      directory: vouched.registry, audit: vouched.box.records.writer,
      vouching: Vouching(device: vouched.device) { nil },
      now: { 1 })
    await #expect(throws: RegistryError.self) { try await registry.verifiedFile("tiny") }
  }
}
