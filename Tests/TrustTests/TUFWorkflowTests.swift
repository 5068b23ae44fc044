import FoundationEssentials
import Testing

@testable import Trust

@Suite struct TUFWorkflowTests {
  var repository: TUFFixture
  let client: TUFTestClient

  init() throws {
    repository = try TUFFixture()
    client = TUFTestClient(root: try repository.bytes("1.root.json"))
  }

  /// Refreshes, expecting this error, and that nothing of what was trusted before is lost.
  func refused(_ error: TUFError, now: Date = TUFFixture.now, _ comment: Comment? = nil) async {
    await #expect(throws: error, comment) { _ = try await client.refresh(repository, now: now) }
  }

  @Test func firstRefreshTrustsAndKeepsEveryFileAsItCame() async throws {
    let trusted = try await client.refresh(repository)
    #expect(client.asked == ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
    #expect(trusted.targets == repository.targets)
    #expect(trusted.target("models/tiny/1/tiny.gguf")?.custom == ["a": 1])
    #expect(trusted.target("models/tiny/2/tiny.gguf") == nil)
    #expect(trusted.signers(of: "targets") == [TUFKey(ed25519: repository.targetsKey.verifyingKey).keyID])
    #expect(trusted.expiries["timestamp"] == TUFFixture.days(7))
    for (kept, served) in [
      ("root.json", "1.root.json"), ("timestamp.json", "timestamp.json"), ("snapshot.json", "1.snapshot.json"),
      ("targets.json", "1.targets.json"),
    ] {
      #expect(client.disk[kept] == repository.files[served])
    }
  }

  @Test func anUnchangedRepositoryCostsTwoQuestions() async throws {
    try await client.refresh(repository)
    let trusted = try await client.refresh(repository)
    #expect(client.asked == ["2.root.json", "timestamp.json"])
    #expect(trusted.targets == repository.targets)
  }

  @Test mutating func aNewTimestampAloneFetchesNothingElse() async throws {
    try await client.refresh(repository)
    repository.timestampVersion = 2
    try repository.publishTimestamp()
    let trusted = try await client.refresh(repository)
    #expect(client.asked == ["2.root.json", "timestamp.json"])
    #expect(trusted.timestampVersion == 2)
    #expect(client.disk["timestamp.json"] == repository.files["timestamp.json"])
  }

  @Test mutating func newTargetsReplaceTheOld() async throws {
    try await client.refresh(repository)
    repository.targets = []
    try repository.publishNext()
    let trusted = try await client.refresh(repository)
    #expect(trusted.targets.isEmpty)
    #expect(trusted.targetsVersion == 2)
  }

  @Test mutating func withoutConsistentSnapshotsNamesHaveNoVersion() async throws {
    repository.consistent = false
    try repository.signRoot(by: repository.rootKeys)
    try repository.publish()
    let client = TUFTestClient(root: try repository.bytes("1.root.json"))
    try await client.refresh(repository)
    #expect(client.asked == ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"])
  }

  // MARK: rollback

  @Test mutating func anOlderTimestampIsARollback() async throws {
    repository.timestampVersion = 5
    try repository.publish()
    try await client.refresh(repository)
    let kept = client.disk
    repository.timestampVersion = 4
    try repository.publish()
    await refused(.rollback(file: "timestamp", have: 5, got: 4))
    #expect(client.disk == kept)
  }

  @Test mutating func aTimestampThatNamesAnOlderSnapshotIsARollback() async throws {
    repository.snapshotVersion = 3
    try repository.publish()
    try await client.refresh(repository)
    repository.snapshotVersion = 2
    repository.timestampVersion = 2
    try repository.publish()
    await refused(.rollback(file: "snapshot.json", have: 3, got: 2))
  }

  @Test mutating func aSnapshotThatNamesOlderTargetsIsARollback() async throws {
    repository.targetsVersion = 3
    try repository.publish()
    try await client.refresh(repository)
    repository.targetsVersion = 2
    repository.snapshotVersion = 2
    repository.timestampVersion = 2
    try repository.publish()
    await refused(.rollback(file: "targets.json", have: 3, got: 2))
  }

  @Test mutating func anExpiredLocalSnapshotStillGuardsAgainstRollback() async throws {
    repository.targetsVersion = 3
    try repository.publish()
    try await client.refresh(repository)
    repository.targetsVersion = 2
    repository.snapshotVersion = 2
    repository.timestampVersion = 2
    repository.timestampExpires = TUFFixture.days(40)
    repository.snapshotExpires = TUFFixture.days(40)
    try repository.publish()
    await refused(.rollback(file: "targets.json", have: 3, got: 2), now: TUFFixture.days(30))
  }

  @Test mutating func aSnapshotMayNotForgetAFile() async throws {
    repository.otherFiles["people.json"] = TUFFileMeta(version: 1)
    try repository.publish()
    try await client.refresh(repository)
    repository.otherFiles = [:]
    try repository.publishNext()
    await refused(.removed(file: "people.json"))
  }

  // MARK: freeze

  @Test(arguments: TUFRole.allCases) func expired(role: TUFRole) async throws {
    var repository = repository
    let past = TUFFixture.days(-1)
    switch role {
    case .root: repository.rootExpires = past
    case .timestamp: repository.timestampExpires = past
    case .snapshot: repository.snapshotExpires = past
    case .targets: repository.targetsExpires = past
    }
    try repository.signRoot(by: repository.rootKeys)
    try repository.publish()
    let client = TUFTestClient(root: try repository.bytes("1.root.json"))
    await #expect(throws: TUFError.expired(role: role.rawValue, since: past)) { try await client.refresh(repository) }
  }

  @Test func aFrozenRepositoryShowsWhenItsTimestampExpires() async throws {
    try await client.refresh(repository)
    await refused(.expired(role: "timestamp", since: TUFFixture.days(7)), now: TUFFixture.days(8))
    await refused(.expired(role: "timestamp", since: TUFFixture.days(7)), now: TUFFixture.days(7))
  }

  @Test mutating func anExpiredRootIsNoMatterWhenANewerOneFollows() async throws {
    repository.rootExpires = TUFFixture.days(-1)
    try repository.signRoot(by: repository.rootKeys)
    let client = TUFTestClient(root: try repository.bytes("1.root.json"))
    repository.rootVersion = 2
    repository.rootExpires = TUFFixture.days(10)
    try repository.signRoot(by: repository.rootKeys)
    #expect(try await client.refresh(repository).rootVersion == 2)
  }

  // MARK: mix and match, swapped files

  @Test mutating func anotherSnapshotOfTheSameVersionIsRefused() async throws {
    let timestamp = try repository.bytes("timestamp.json")
    repository.otherFiles["x.json"] = TUFFileMeta(version: 1)
    try repository.publish()
    repository.files["timestamp.json"] = timestamp
    let got = UInt64(try repository.bytes("1.snapshot.json").count)
    let expected = try TUFTimestamp(TUFDocument(parsing: timestamp, as: .timestamp)).snapshot.length ?? 0
    // The answer is longer than the timestamp says, so that it is not even read to its end.
    #expect(got > expected)
    await refused(.tooLarge(file: "1.snapshot.json", limit: Int(expected)))
  }

  @Test mutating func otherBytesOfTheSameLengthAreRefused() async throws {
    for (file, name) in [("1.snapshot.json", "snapshot.json"), ("1.targets.json", "targets.json")] {
      var broken = repository
      var bytes = try broken.bytes(file)
      // A space for a newline: valid JSON with valid signatures, and still not the file that was listed.
      bytes[bytes.count - 1] = 0x20
      broken.files[file] = bytes
      await #expect(throws: TUFError.wrongHash(file: name)) { try await client.refresh(broken) }
    }
  }

  @Test mutating func aFileOfAnotherRoleIsRefused() async throws {
    repository.files["timestamp.json"] = try repository.bytes("1.snapshot.json")
    await refused(.malformed(role: "timestamp", reason: "its \"_type\" is \"snapshot\""))
  }

  @Test mutating func aSnapshotOfAnotherVersionThanNamedIsRefused() async throws {
    let meta = TUFFileMeta(version: 2)
    repository.files["timestamp.json"] = try TUFWriter.timestamp(
      version: 1, expires: TUFFixture.days(1), snapshot: meta
    ).signed(by: [repository.timestampKey])
    repository.files["2.snapshot.json"] = try repository.bytes("1.snapshot.json")
    await refused(.versionMismatch(role: "snapshot", expected: 2, got: 1))
  }

  @Test mutating func missingAndOversizedFilesAreNamed() async throws {
    let whole = repository
    repository.files["timestamp.json"] = nil
    await refused(.missing(file: "timestamp.json"))
    repository = whole
    repository.files["1.targets.json"] = nil
    await refused(.missing(file: "1.targets.json"))
    repository = whole
    repository.files["timestamp.json"] =
      try repository.bytes("timestamp.json") + [UInt8](repeating: 0x20, count: 20_000)
    await refused(.tooLarge(file: "timestamp.json", limit: 16_384))
    repository = whole
    repository.files["2.root.json"] = [UInt8](repeating: 0x20, count: 512_001)
    await refused(.tooLarge(file: "2.root.json", limit: 512_000))
    repository = whole
    repository.files["timestamp.json"] = try TUFWriter.timestamp(
      version: 2, expires: TUFFixture.days(1), snapshot: TUFFileMeta(version: 1, length: 1 << 40)
    ).signed(by: [repository.timestampKey])
    await refused(.tooLarge(file: "1.snapshot.json", limit: 2_000_000))
  }

  // MARK: root rotation

  @Test mutating func rootsRotateOneByOneByBothThresholds() async throws {
    for _ in 0..<3 {
      let old = repository.rootKeys
      repository.rootKeys = [SigningKey.generate(), SigningKey.generate()]
      repository.rootThreshold = 2
      repository.rootVersion += 1
      try repository.signRoot(by: old + repository.rootKeys)
    }
    let trusted = try await client.refresh(repository)
    #expect(trusted.rootVersion == 4)
    #expect(client.asked.prefix(4) == ["2.root.json", "3.root.json", "4.root.json", "5.root.json"])
    #expect(client.disk["root.json"] == repository.files["4.root.json"])
    #expect(trusted.signers(of: "root").count == 2)
  }

  @Test mutating func aRootByOnlyOneSideIsRefused() async throws {
    let old = repository.rootKeys
    repository.rootVersion = 2
    repository.rootKeys = [SigningKey.generate()]
    try repository.signRoot(by: repository.rootKeys)
    await refused(.signature(role: "root", valid: 0, threshold: 1), "not by the old keys")
    try repository.signRoot(by: old)
    await refused(.signature(role: "root", valid: 0, threshold: 1), "not by the new keys")
    #expect(client.disk["root.json"] == repository.files["1.root.json"])
    try repository.signRoot(by: old + repository.rootKeys)
    #expect(try await client.refresh(repository).rootVersion == 2, "and the client recovers")
  }

  @Test(arguments: [Int64(1), 3, 4]) func aRootOfAnotherVersionIsRefused(version: Int64) async throws {
    var repository = repository
    repository.rootVersion = version
    repository.files["2.root.json"] = try repository.rootSigned.signed(by: repository.rootKeys)
    await #expect(throws: TUFError.versionMismatch(role: "root", expected: 2, got: version)) {
      try await client.refresh(repository)
    }
  }

  @Test mutating func rotationIsBoundedAndGoesOnNextTime() async throws {
    for version in Int64(2)...6 {
      repository.rootVersion = version
      try repository.signRoot(by: repository.rootKeys)
    }
    var limits = TUFWorkflow.Limits()
    limits.rootRotations = 3
    #expect(try await client.refresh(repository, limits: limits).rootVersion == 4)
    #expect(try await client.refresh(repository, limits: limits).rootVersion == 6)
  }

  @Test mutating func rotatedOnlineKeysForgiveFastForwardedVersions() async throws {
    let attacked = repository.snapshotKey
    repository.timestampVersion = .max
    repository.snapshotVersion = .max
    repository.targetsVersion = .max
    try repository.publish()
    try await client.refresh(repository)
    // The repository recovers: new timestamp and snapshot keys, low versions again.
    repository.timestampVersion = 2
    repository.snapshotVersion = 2
    repository.targetsVersion = 2
    try repository.publish()
    await refused(.rollback(file: "timestamp", have: .max, got: 2))
    repository.rootVersion = 2
    repository.snapshotKey = SigningKey.generate()
    try repository.signRoot(by: repository.rootKeys)
    try repository.publish()
    let trusted = try await client.refresh(repository)
    #expect(trusted.timestampVersion == 2)
    #expect(trusted.targetsVersion == 2)
    // And the old key counts no more.
    repository.snapshotVersion = 3
    repository.timestampVersion = 3
    repository.snapshotKey = attacked
    try repository.publish()
    await refused(.signature(role: "snapshot", valid: 0, threshold: 1))
  }

  @Test mutating func aRootThatKeepsTheOnlineKeysKeepsTheVersions() async throws {
    repository.timestampVersion = 5
    try repository.publish()
    try await client.refresh(repository)
    repository.rootVersion = 2
    try repository.signRoot(by: repository.rootKeys)
    repository.timestampVersion = 4
    try repository.publish()
    await refused(.rollback(file: "timestamp", have: 5, got: 4))
  }

  // MARK: interrupted and offline

  @Test mutating func aDamagedLocalCopyIsFetchedAgain() async throws {
    try await client.refresh(repository)
    for file in ["timestamp.json", "snapshot.json", "targets.json"] {
      client.disk[file] = Array("{}".utf8)
      let trusted = try await client.refresh(repository)
      #expect(trusted.targets == repository.targets, "\(file)")
      #expect(client.disk[file] != Array("{}".utf8), "\(file)")
    }
    client.disk["root.json"] = Array("{}".utf8)
    await #expect(throws: TUFError.self) { try await client.refresh(repository) }
  }

  @Test mutating func aCutUpdateGoesOnWhereItStopped() async throws {
    try await client.refresh(repository)
    repository.targets = []
    try repository.publishNext()
    var cut = repository
    cut.files["2.targets.json"] = nil
    await #expect(throws: TUFError.missing(file: "2.targets.json")) { try await client.refresh(cut) }
    #expect(try TrustedMetadata.loadOffline(client.local).targetsVersion == 1, "the last good targets are still there")
    try await client.refresh(repository)
    #expect(client.asked == ["2.root.json", "timestamp.json", "2.targets.json"])
  }

  @Test mutating func offlineLoadReportsExpiryAndKeepsTargets() async throws {
    try await client.refresh(repository)
    let trusted = try TrustedMetadata.loadOffline(client.local)
    #expect(trusted.targets == repository.targets)
    #expect(trusted.expired(at: TUFFixture.now) == [])
    #expect(trusted.expired(at: TUFFixture.days(30)) == ["timestamp", "snapshot"])
    #expect(trusted.expired(at: TUFFixture.days(4000)) == ["root", "timestamp", "snapshot", "targets"])
    // But bytes that nobody signed stay out.
    let other = try TUFFixture()
    client.disk["targets.json"] = try other.bytes("1.targets.json")
    #expect(try TrustedMetadata.loadOffline(client.local).targets.isEmpty)
  }
}
