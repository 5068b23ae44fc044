import Fleet
import FoundationEssentials
import Models
import Storage
import Testing
import Trust

@testable import Agent

/// A box with a good model on it, and a hub in the hands of somebody who holds some of the keys.
final class Siege {
  let hub: FakeHub
  let box: SyncBox
  /// The honest publisher's metadata.
  var image: ImageFiles
  /// `tiny:1` and `tiny:2`; the newer is installed.
  let old: ModelManifest
  let good: ModelManifest
  /// Content that is on the hub and that nobody signed.
  let evil: TUFTarget
  let goodTarget: TUFTarget
  let oldTarget: TUFTarget

  private init(_ hub: FakeHub, _ box: SyncBox) throws {
    self.hub = hub
    self.box = box
    evil = try Siege.target(hub, seed: 66, "evil", "1")
    old = try hub.publisher.publish(ggufFile(seed: 1, weights: 60_000), name: "tiny", version: "1")
    good = try hub.publisher.publish(ggufFile(seed: 2, weights: 60_000), name: "tiny", version: "2")
    let targets = hub.publisher.state.withLock(\.targets)
    (oldTarget, goodTarget) = (targets[0], targets[1])
    image = ImageFiles(hub.publisher)
    image.targets = targets
  }

  /// A target whose content the hub has.
  static func target(_ hub: FakeHub, seed: UInt64, _ name: String, _ version: String) throws -> TUFTarget {
    let manifest = try hub.publisher.publish(ggufFile(seed: seed, weights: 60_000), name: name, version: version)
    hub.publisher.withdraw(manifest)
    return TUFTarget(
      path: manifest.targetPath, length: manifest.length, sha256: manifest.sha256, custom: manifest.customJSON)
  }

  static func lay(_ body: (Siege) async throws -> Void) async throws {
    let hub = try FakeHub()
    try hub.start()
    let box = try await SyncBox()
    do {
      let siege = try Siege(hub, box)
      hub.publisher.begin(with: try siege.image.root())
      hub.state.withLock { $0.files["1.root.json"] = try? siege.image.root() }
      try siege.publish()
      try await box.service.enroll(token: try hub.token())
      let first = try await box.service.syncNow()
      #expect(first.failures.isEmpty && first.attacks.isEmpty, "\(first)")
      #expect(try await siege.isUnharmed())
      hub.state.withLock { $0.lie = 1 }
      try await body(siege)
    } catch {
      await box.close()
      await hub.stop()
      throw error
    }
    await box.close()
    await hub.stop()
  }

  // MARK: the honest

  func publish() throws {
    let files = try image.files()
    hub.state.withLock { state in
      state.files.merge(files) { _, new in new }
      state.released = image.targets
      state.timestampVersion = Int(image.version)
    }
  }

  /// What the honest director says now.
  func director(_ targets: [TUFTarget]? = nil, version: Int64 = 2) -> DirectorFiles {
    var files = DirectorFiles(hub.publisher, device: box.identity.id, targets: targets ?? [goodTarget])
    files.onlineKey = hub.directorKey
    files.version = version
    return files
  }

  func sign(_ signed: JSONValue, _ key: SigningKey) throws -> [UInt8] {
    let signature: JSONValue = [
      "keyid": .string(TUFKey(ed25519: key.verifyingKey).keyID),
      "sig": .string(Hex.encode(key.sign(try signed.canonicalOLPC()))),
    ]
    return JSONValue.object(["signatures": [signature], "signed": signed]).encoded()
  }

  // MARK: the thief

  func forge(_ folder: String, _ files: [String: [UInt8]]) {
    hub.state.withLock { state in
      for (name, bytes) in files { state.forged["\(folder)/\(name)"] = .bytes(bytes) }
    }
  }

  func forge(_ name: String, _ forgery: FakeHub.Forgery?) { hub.state.withLock { $0.forged[name] = forgery } }
  func stopForging() { hub.state.withLock { $0.forged = [:] } }

  // MARK: what became of it

  /// Syncs; what was put on record meanwhile, as `attack role`.
  @discardableResult
  func strike(_ source: SourceLocation = #_sourceLocation, leaving labels: [String] = ["tiny:2"]) async throws
    -> [String]
  {
    let before = try box.records("attack").count
    _ = try? await box.service.syncNow()
    #expect(try await isUnharmed(labels), sourceLocation: source)
    let new = try box.records("attack").dropFirst(before)
    for record in new {
      #expect(Attack(rawValue: record["attack"]?.string ?? "") != nil, sourceLocation: source)
      #expect(record["reason"]?.string?.isEmpty == false, sourceLocation: source)
    }
    return new.map { "\($0["attack"]?.string ?? "") \($0["role"]?.string ?? "")" }
  }

  /// Only these models can be had, each whole, and nothing foreign lies in the store.
  func isUnharmed(_ labels: [String] = ["tiny:2"]) async throws -> Bool {
    let active = await box.registry.installed().filter { $0.state == .active }
    guard active.map(\.manifest.label) == labels else { return false }
    for label in labels { _ = try await box.registry.verifiedPath(label) }
    let blobs = try DurableFile.names(in: box.scratch.path + "/registry/blobs/sha256")
    // And nothing lies there that no row names: the version before may stay for a rollback.
    let held = await box.registry.inventory().holdings.filter(\.isActive)
    return Set(blobs) == Set(held.map(\.manifest.sha256.hex))
      && held.allSatisfy { $0.isRetired || labels.contains($0.manifest.label) }
  }
}

@Suite struct AttackSuiteTests {
  // MARK: director wholly stolen

  @Test func aStolenDirectorBringsNothingThatThePublisherDidNotSign() async throws {
    try await Siege.lay { siege in
      let evil = siege.evil
      let good = siege.goodTarget
      func disagreeing(_ length: UInt64, _ digest: Digest?, _ custom: JSONValue?) -> TUFTarget {
        TUFTarget(path: good.path, length: length, sha256: digest ?? Digest(of: []), custom: custom)
      }
      var version: Int64 = 2
      func says(_ targets: [TUFTarget]) async throws -> [String] {
        siege.forge("director", try siege.director(targets, version: version).files())
        version += 1
        return try await siege.strike()
      }
      // A model of its own, alone and beside the good one.
      #expect(try await says([good, evil]) == ["foreign-image director/targets"])
      // Other bytes under the good one's name, another length, another chunk index.
      #expect(
        try await says([disagreeing(evil.length, evil.sha256, evil.custom)]) == ["director-disagrees director/targets"])
      #expect(
        try await says([disagreeing(good.length + 1, good.sha256, good.custom)])
          == ["director-disagrees director/targets"])
      #expect(
        try await says([disagreeing(good.length, good.sha256, evil.custom)]) == ["director-disagrees director/targets"])
      // Back to an older version; and what it signs as a rollback must still be the publisher's.
      #expect(try await says([siege.oldTarget]) == ["rollback director/targets"])
      #expect(
        try await says([good, DirectorStatement.target(evil, isRollback: true)]) == ["foreign-image director/targets"])
      // Metadata that it has no key for.
      siege.image.version += 1
      siege.image.targets = [evil]
      siege.image.targetsKey = siege.hub.directorKey
      siege.forge("metadata", try siege.image.files())
      #expect(try await siege.strike() == ["bad-signature image/targets"])
    }
  }

  /// It can take a model away, but not bring the older one in its place after that.
  @Test func aStolenDirectorDoesNotStepBackByWayOfNothing() async throws {
    try await Siege.lay { siege in
      siege.forge("director", try siege.director([], version: 2).files())
      #expect(try await siege.strike(leaving: []) == [])
      siege.forge("director", try siege.director([siege.oldTarget], version: 3).files())
      #expect(try await siege.strike(leaving: []) == ["rollback director/targets"])
      siege.forge("director", try siege.director([siege.goodTarget], version: 4).files())
      #expect(try await siege.strike() == [])
    }
  }

  // MARK: image repository wholly stolen

  @Test func aStolenImageRepositoryBringsNothingThatTheDirectorDidNotName() async throws {
    try await Siege.lay { siege in
      let stolen = siege.image.rootKey
      // All keys replaced by the thief's own, under a root that the stolen one signs.
      siege.image.rootKey = SigningKey.generate()
      siege.image.targetsKey = SigningKey.generate()
      siege.image.snapshotKey = SigningKey.generate()
      siege.image.timestampKey = SigningKey.generate()
      siege.forge(
        "metadata", ["2.root.json": try siege.image.root(version: 2, signers: [stolen, siege.image.rootKey])])
      let newer = try Siege.target(siege.hub, seed: 67, "tiny", "3")
      siege.image.version += 1
      siege.image.targets = [siege.goodTarget, newer, siege.evil]
      siege.forge("metadata", try siege.image.files())
      // Signed as well as can be, and the director does not name it: nothing comes, and there is no dispute.
      #expect(try await siege.strike() == [])
      // Foreign bytes under the name that the director does name.
      siege.image.version += 1
      siege.image.targets = [
        TUFTarget(
          path: siege.goodTarget.path, length: siege.evil.length, sha256: siege.evil.sha256 ?? Digest(of: []),
          custom: siege.evil.custom)
      ]
      siege.forge("metadata", try siege.image.files())
      #expect(try await siege.strike() == ["director-disagrees director/targets"])
      let manifest = try ModelManifest(siege.evil)
      var posing = manifest
      posing.name = siege.good.name
      posing.version = siege.good.version
      posing.fileName = siege.good.fileName
      siege.image.version += 1
      siege.image.targets = [
        TUFTarget(path: posing.targetPath, length: posing.length, sha256: posing.sha256, custom: posing.customJSON)
      ]
      siege.forge("metadata", try siege.image.files())
      #expect(try await siege.strike() == ["director-disagrees director/targets"])
    }
  }

  // MARK: timestamp key stolen

  @Test func aStolenTimestampKeyBringsNoOtherSnapshot() async throws {
    try await Siege.lay { siege in
      let thief = SigningKey.generate()
      // A snapshot of its own.
      var forged = siege.image
      forged.version = 2
      forged.snapshotKey = thief
      forged.targets = [siege.evil]
      siege.forge("metadata", try forged.files())
      #expect(try await siege.strike() == ["bad-signature image/snapshot"])
      // The old snapshot as the newest: the honest one has moved on by then.
      siege.stopForging()
      let first = try #require(siege.hub.state.withLock { $0.files["1.snapshot.json"] })
      siege.image.version = 3
      try siege.publish()
      #expect(try await siege.strike() == [])
      siege.forge("metadata", ["timestamp.json": try siege.image.timestamp(9, of: first)])
      #expect(try await siege.strike() == ["rollback image/snapshot"])
    }
  }

  // MARK: mix and match

  @Test func filesThatWereNeverPublishedTogetherAreRefused() async throws {
    try await Siege.lay { siege in
      let files = siege.hub.state.withLock(\.files)
      siege.image.version = 2
      siege.image.targets = [siege.goodTarget, siege.evil]
      try siege.publish()
      siege.forge("metadata", ["2.snapshot.json": files["1.snapshot.json"] ?? []])
      #expect(try await siege.strike() == ["mix-and-match image/snapshot"])
      siege.forge("metadata", try ["2.snapshot.json": siege.image.files()["2.snapshot.json"] ?? []])
      siege.forge("metadata", ["2.targets.json": files["1.targets.json"] ?? []])
      #expect(try await siege.strike() == ["mix-and-match image/targets"])
      siege.stopForging()
      let (one, two) = (try siege.director([], version: 2).files(), try siege.director(version: 3).files())
      siege.forge("director", two)
      siege.forge("director", ["3.targets.json": one["2.targets.json"] ?? []])
      #expect(try await siege.strike() == ["mix-and-match director/targets"])
    }
  }

  /// The same keys sign both repositories' roots, and one hub key signs both online: neither stands in for the other.
  @Test func theRepositoriesDoNotStandInForEachOther() async throws {
    try await Siege.lay { siege in
      siege.forge("metadata", ["2.root.json": try siege.director().root(version: 2)])
      #expect(try await siege.strike() == ["mix-and-match image/root"])
      siege.stopForging()
      var bound = siege.director()
      bound.onlineKey = siege.image.rootKey
      siege.forge("director", ["2.root.json": try siege.image.root(version: 2)])
      #expect(try await siege.strike() == ["mix-and-match director/root"])
      siege.stopForging()
      // A director's timestamp, signed with the key of the image repository's timestamp role.
      var posing = siege.director(version: 5)
      posing.onlineKey = siege.image.timestampKey
      let timestamp = try posing.files()["timestamp.json"] ?? []
      siege.forge("metadata", ["timestamp.json": timestamp])
      #expect(try await siege.strike() == ["mix-and-match image/timestamp"])
      siege.stopForging()
      #expect(try await siege.strike() == [])
    }
  }

  // MARK: another box's director, and an old one

  @Test func anotherBoxesDirectorIsRefused() async throws {
    try await Siege.lay { siege in
      var other = siege.director([siege.goodTarget, siege.oldTarget], version: 7)
      other.device = DeviceID(key: SigningKey.generate().verifyingKey)
      siege.forge("director", try other.files())
      #expect(try await siege.strike() == ["wrong-device director/timestamp"])
      #expect(await siege.box.registry.director?.timestampVersion == 1)
    }
  }

  @Test func aReplayedDirectorIsRefused() async throws {
    try await Siege.lay { siege in
      let old = siege.hub.state.withLock { $0.directors[siege.box.identity.id.hex]?.files ?? [:] }
      siege.forge("director", try siege.director([siege.goodTarget], version: 5).files())
      #expect(try await siege.strike() == [])
      siege.stopForging()
      siege.forge("director", old)
      #expect(try await siege.strike() == ["replay director/timestamp"])
    }
  }

  @Test func aDirectorUnderForeignRootKeysIsRefused() async throws {
    try await Siege.lay { siege in
      let thief = SigningKey.generate()
      var usurper = siege.director([siege.evil], version: 9)
      usurper.rootKeys = [thief]
      usurper.onlineKey = thief
      siege.forge("director", try usurper.files())
      siege.forge("director", ["2.root.json": try usurper.root(version: 2)])
      #expect(try await siege.strike() == ["bad-signature director/root"])
    }
  }

  /// A root key that was stolen and rotated out of the image root signs no director any more, though the old director's
  /// root still lists it.
  @Test func aRotatedRootKeyMakesNoDirector() async throws {
    try await Siege.lay { siege in
      let stolen = siege.image.rootKey
      let honest = SigningKey.generate()
      siege.image.rootKey = honest
      siege.image.version = 2
      siege.hub.state.withLock {
        $0.files["2.root.json"] = try? siege.image.root(version: 2, signers: [stolen, honest])
      }
      try siege.publish()
      #expect(try await siege.strike() == [])
      let thief = SigningKey.generate()
      var usurper = siege.director([siege.evil], version: 9)
      usurper.rootKeys = [stolen]
      usurper.onlineKey = thief
      siege.forge("director", try usurper.files())
      siege.forge("director", ["2.root.json": try usurper.root(version: 2)])
      #expect(try await siege.strike() == ["bad-signature director/root"])
      #expect(await siege.box.registry.director?.rootVersion == 1)
    }
  }

  // MARK: endless data, slow retrieval

  @Test func endlessDataIsCutOff() async throws {
    try await Siege.lay { siege in
      for name in ["metadata/timestamp.json", "director/timestamp.json", "director/2.root.json"] {
        siege.forge(name, .endless)
        let role = name.hasPrefix("metadata") ? "image/metadata" : "director/metadata"
        #expect(try await siege.strike() == ["endless-data \(role)"], "\(name)")
        siege.forge(name, nil)
      }
      siege.image.version = 2
      siege.image.targets.append(siege.evil)
      try siege.publish()
      siege.forge("chunks", .endless)
      #expect(try await siege.strike().contains("endless-data content"))
    }
  }

  @Test func slowRetrievalIsGivenUp() async throws {
    try await Siege.lay { siege in
      let box = siege.box
      var client = await box.service.client(siege.hub.url, siege.hub.identity.pin)
      client.patience = HubClient.Patience(base: 0.5, perKiB: 0)
      let log = box.log
      let intake = Intake(registry: box.registry, device: box.identity.id, clock: box.clock) { kind, actor, fields in
        _ = try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
      }
      for (name, role) in [
        ("metadata/timestamp.json", "image/metadata"), ("director/timestamp.json", "director/metadata"),
      ] {
        let before = try box.records("attack").count
        siege.forge(name, .trickle)
        _ = try? await intake.run(from: HubFleetSource(client: client))
        siege.forge(name, nil)
        let record = try #require(try box.records("attack").dropFirst(before).first)
        #expect(record["attack"] == "slow-retrieval" && record["role"]?.string == role)
        #expect(try await siege.isUnharmed())
      }
    }
  }

  // MARK: freeze

  @Test func aFrozenRepositoryBringsNothingNewAndTheBoxServesOn() async throws {
    try await Siege.lay { siege in
      siege.image.version = 2
      siege.image.expires = Date(timeIntervalSince1970: 1_900_000_000)
      try siege.publish()
      var director = siege.director([siege.goodTarget], version: 2)
      director.expires = Date(timeIntervalSince1970: 1_850_000_000)
      siege.forge("director", try director.files())
      #expect(try await siege.strike() == [])
      siege.box.hands.wall = 1_860_000_000
      #expect(try await siege.strike() == ["freeze director/timestamp"])
      let status = try await siege.box.service.status()
      #expect(status.attacks.map(\.attack) == [.freeze])
      #expect(status.lastError?.contains("nothing new is installed") == true)
      // What the publisher adds meanwhile does not come in; what is damaged is mended all the same.
      siege.image.version = 3
      siege.image.targets.append(siege.evil)
      try siege.publish()
      let blob = siege.box.scratch.path + "/registry/blobs/sha256/\(siege.good.sha256.hex)"
      var bytes = try #require(try DurableFile.read(blob, limit: 1 << 30))
      bytes[40_000] ^= 1
      try DurableFile.replace(blob, with: bytes)
      #expect(try await siege.box.registry.verify("tiny:2") == false)
      #expect(try await siege.strike() == ["freeze director/timestamp"])
      // And the image repository's own freeze.
      siege.box.hands.wall = 1_910_000_000
      #expect(try await siege.strike() == ["freeze image/timestamp"])
    }
  }

  @Test func aDirectorThatIsWithheldBringsNothing() async throws {
    try await Siege.lay { siege in
      siege.forge("director", .gone)
      siege.image.version = 2
      siege.image.targets.append(siege.evil)
      try siege.publish()
      #expect(try await siege.strike() == ["withheld director/timestamp"])
    }
  }

  // MARK: fast-forward

  @Test func aLeapInVersionsIsRefused() async throws {
    try await Siege.lay { siege in
      siege.image.version = Int64.max - 1
      siege.forge("metadata", try siege.image.files())
      #expect(try await siege.strike() == ["fast-forward image/timestamp"])
      siege.stopForging()
      siege.forge("director", try siege.director(version: Int64.max - 1).files())
      #expect(try await siege.strike() == ["fast-forward director/timestamp"])
      siege.stopForging()
      #expect(try await siege.strike() == [])
    }
  }

  @Test func rotatedKeysRecoverFromAFastForward() async throws {
    try await Siege.lay { siege in
      // By less than a leap: it is taken, and the true metadata looks old from then on.
      var forged = siege.image
      forged.version = 100_000
      forged.targets = [siege.goodTarget]
      siege.forge("metadata", try forged.files())
      siege.forge("director", try siege.director(version: 200_000).files())
      #expect(try await siege.strike() == [])
      siege.stopForging()
      siege.image.version = 2
      try siege.publish()
      #expect(try await siege.strike() == ["rollback image/timestamp"])
      // New online keys, as the publisher signs them with the offline root keys.
      siege.image.snapshotKey = SigningKey.generate()
      siege.image.timestampKey = SigningKey.generate()
      siege.image.targets.append(siege.evil)
      siege.hub.state.withLock { $0.files["2.root.json"] = try? siege.image.root(version: 2) }
      try siege.publish()
      var renewed = siege.director([siege.goodTarget], version: 2)
      renewed.onlineKey = SigningKey.generate()
      siege.forge("director", try renewed.files())
      siege.forge("director", ["2.root.json": try renewed.root(version: 2)])
      #expect(
        try await siege.strike().sorted()
          == [
            "fast-forward director/snapshot", "fast-forward director/timestamp", "fast-forward image/snapshot",
            "fast-forward image/timestamp",
          ])
      #expect(await siege.box.registry.director?.timestampVersion == 2)
      #expect(await siege.box.registry.trusted?.timestampVersion == 2)
    }
  }

  // MARK: what is allowed

  @Test func aSignedRollbackIsTakenAndOnRecord() async throws {
    try await Siege.lay { siege in
      siege.forge(
        "director",
        try siege.director([DirectorStatement.target(siege.oldTarget, isRollback: true)], version: 2).files())
      #expect(try await siege.strike(leaving: ["tiny:1"]) == [])
      let record = try #require(try siege.box.records("model").last { $0["event"] == "activated" })
      #expect(record["version"] == "1" && record["rollbackFrom"] == "2")
      // From there it goes forward again, and the old statement does not come back.
      siege.forge("director", try siege.director([siege.goodTarget], version: 3).files())
      #expect(try await siege.strike() == [])
    }
  }

  @Test func aHubWithoutADirectorSaysWhatToDo() async throws {
    let hub = try FakeHub()
    try hub.start()
    let box = try await SyncBox()
    hub.state.withLock { $0.hasDirector = false }
    try hub.publisher.publish(ggufFile(seed: 1, weights: 60_000), name: "tiny")
    try hub.release()
    try await box.service.enroll(token: try hub.token())
    for _ in 0..<2 {
      let outcome = try await box.service.syncNow()
      #expect(outcome.activated.isEmpty)
      #expect(outcome.failures.count == 1 && outcome.failures[0].message.contains("skerry repo renew"), "\(outcome)")
    }
    hub.state.withLock { $0.hasDirector = true }
    #expect(try await box.service.syncNow().activated == ["tiny:1"])
    await box.close()
    await hub.stop()
  }

  // MARK: delegations

  /// A publisher that the fleet's own delegates to counts as the image repository does; while its metadata can't be had
  /// or trusted, what is installed of it stays.
  @Test func delegatedModelsAreTakenAndStay() async throws {
    try await Siege.lay { siege in
      let acme = SigningKey.generate()
      func delegated(_ version: Int64, _ targets: [TUFTarget], expires: Int = 4_000_000_000, by key: SigningKey)
        throws -> [UInt8]
      {
        try TUFWriter.targets(
          version: version, expires: Date(timeIntervalSince1970: TimeInterval(expires)), targets: targets
        ).signed(by: [key])
      }
      func publish(_ version: Int64, _ role: [UInt8]) throws {
        let key = TUFKey(ed25519: acme.verifyingKey)
        let plain = TUFWriter.targets(version: version, expires: siege.image.expires, targets: [siege.goodTarget])
        var members = plain.json.object ?? [:]
        members["delegations"] = [
          "keys": [key.keyID: key.json],
          "roles": [
            [
              "name": "acme", "keyids": [.string(key.keyID)], "threshold": 1, "terminating": true,
              "paths": ["models/evil/*/*"],
            ]
          ],
        ]
        let top = try siege.sign(.object(members), siege.image.targetsKey)
        let snapshot = try TUFWriter.snapshot(
          version: version, expires: siege.image.expires,
          files: [
            "targets.json": TUFFileMeta(of: TUFDocument(parsing: top, as: .targets)),
            "acme.json": TUFFileMeta(of: TUFDocument(parsing: role, as: .targets)),
          ]
        ).signed(by: [siege.image.snapshotKey])
        siege.image.version = version
        let timestamp = try siege.image.timestamp(version, of: snapshot)
        siege.hub.state.withLock { state in
          state.files["\(version).targets.json"] = top
          state.files["\(version).acme.json"] = role
          state.files["\(version).snapshot.json"] = snapshot
          state.files["timestamp.json"] = timestamp
          state.timestampVersion = Int(version)
        }
      }
      try publish(2, delegated(2, [siege.evil], by: acme))
      siege.forge("director", try siege.director([siege.goodTarget, siege.evil], version: 2).files())
      let both = ["evil:1", "tiny:2"]
      #expect(try await siege.strike(leaving: both) == [])
      let installed = try #require(await siege.box.registry.installed().first { $0.name.description == "evil" })
      #expect(installed.signers == [TUFKey(ed25519: acme.verifyingKey).keyID])
      // Expired, forged, gone: it stays.
      try publish(3, delegated(3, [siege.evil], expires: 1_700_000_000, by: acme))
      #expect(try await siege.strike(leaving: both) == ["freeze image/delegated"])
      try publish(4, delegated(4, [siege.evil], by: SigningKey.generate()))
      #expect(try await siege.strike(leaving: both) == ["bad-signature image/delegated"])
      try publish(5, delegated(5, [siege.evil], by: acme))
      siege.forge("metadata/5.acme.json", .gone)
      #expect(try await siege.strike(leaving: both) == ["withheld image/delegated"])
      siege.forge("metadata/5.acme.json", nil)
      #expect(try await siege.strike(leaving: both) == [])
      // Withdrawn by who published it: it goes, and the director's clinging to it is on record.
      try publish(6, delegated(6, [], by: acme))
      #expect(try await siege.strike() == ["foreign-image director/targets"])
    }
  }
}
