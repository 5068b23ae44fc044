import FoundationEssentials
import Testing

@testable import Trust

@Suite("Time floor: only signed statements raise it")
struct TimeFloorTests {
  static let day: Int64 = 86_400
  static let now: Int64 = 1_800_000_000
  let online = SigningKey.generate()
  let other = SigningKey.generate()

  func authority(_ keys: [SigningKey], threshold: Int = 1) -> TimeAuthority {
    let signed = TUFWriter.root(
      version: 1, expires: TUFFixture.days(365),
      roles: [
        .root: ([TUFKey(ed25519: other.verifyingKey)], 1),
        .timestamp: (keys.map { TUFKey(ed25519: $0.verifyingKey) }, threshold),
        .snapshot: ([TUFKey(ed25519: other.verifyingKey)], 1), .targets: ([TUFKey(ed25519: other.verifyingKey)], 1),
      ])
    guard let bytes = try? signed.signed(by: [other]), let root = try? TUFRoot(parsing: bytes) else {
      preconditionFailure("a root that was just made can be read")
    }
    return TimeAuthority(root)
  }

  func print(_ key: SigningKey) -> String { TUFKey(ed25519: key.verifyingKey).fingerprint ?? "" }
  func said(_ time: Int64, by keys: SigningKey...) -> TimeStatement {
    TimeStatement(time: time, source: .reply, keys: keys.map(print))
  }
  let far = TimeFloorTests.now + 4000 * day

  @Test func beforeAnyStatementOnlyAnImpossiblyEarlyClockIsDoubted() {
    let floor = TimeFloor()
    #expect(floor.judge(wall: 0, uptime: 5).doubt == .behind)
    #expect(floor.judge(wall: 0, uptime: 5).time == TimeFloor.earliest + 5)
    // Nothing to measure from: even this may be true.
    #expect(floor.judge(wall: Self.now + 100 * 365 * Self.day, uptime: 5).doubt == nil)
  }

  @Test func withoutAStatementWhatWasSignedOfflineMeasuresWhatIsAbsurd() {
    let (floor, horizon) = (TimeFloor(), Self.now + 400 * Self.day)
    #expect(floor.judge(wall: horizon + TimeFloor.absurd, uptime: 5, horizon: horizon).doubt == nil)
    let judged = floor.judge(wall: horizon + TimeFloor.absurd + 1, uptime: 5, horizon: horizon)
    #expect(judged.doubt == .ahead && judged.time == TimeFloor.earliest + 5)
  }

  @Test func aStatementRaisesTheFloorAndUptimeCarriesItOn() {
    var floor = TimeFloor()
    let who = [authority([online])]
    #expect(floor.learn(said(Self.now, by: online), uptime: 1000, authorities: who, horizon: far) == .raised)
    #expect(floor.time(at: 1000) == Self.now)
    #expect(floor.time(at: 1500) == Self.now + 500)
    // An older one, true as it may be, says nothing new; nor does the same again when as much time has passed.
    #expect(floor.learn(said(Self.now - 9, by: online), uptime: 1500, authorities: who, horizon: far) == .known)
    #expect(floor.learn(said(Self.now + 500, by: online), uptime: 1500, authorities: who, horizon: far) == .known)
    #expect(floor.time(at: 1500) == Self.now + 500)
    #expect(floor.learn(said(Self.now + 501, by: online), uptime: 1500, authorities: who, horizon: far) == .raised)
    #expect(floor.entries.count == 1, "one statement for each set of keys")
  }

  @Test func theWallClockNeverRaisesIt() {
    var floor = TimeFloor()
    _ = floor.learn(said(Self.now, by: online), uptime: 0, authorities: [authority([online])], horizon: far)
    let ahead = floor.judge(wall: Self.now + 300 * Self.day, uptime: 0)
    #expect(ahead.doubt == nil && ahead.time == Self.now + 300 * Self.day)
    let right = floor.judge(wall: Self.now + 5, uptime: 5)
    #expect(right.doubt == nil && right.time == Self.now + 5)
  }

  @Test func aClockBehindTheFloorIsNotBelievedAndLagsALittleWithoutHarm() {
    var floor = TimeFloor()
    _ = floor.learn(said(Self.now, by: online), uptime: 0, authorities: [authority([online])], horizon: far)
    let lag = TimeFloor.tolerance
    #expect(floor.judge(wall: Self.now - lag, uptime: 0).doubt == nil)
    #expect(floor.judge(wall: Self.now - lag, uptime: 0).time == Self.now, "never earlier than the floor")
    #expect(floor.judge(wall: Self.now - lag - 1, uptime: 0).doubt == .behind)
    // Once doubted it must come closer.
    #expect(floor.judge(wall: Self.now - lag, uptime: 0, previous: .behind).doubt == .behind)
    #expect(floor.judge(wall: Self.now - lag / 2, uptime: 0, previous: .behind).doubt == nil)
  }

  @Test func aClockAbsurdlyAheadIsNotBelieved() {
    var floor = TimeFloor()
    _ = floor.learn(said(Self.now, by: online), uptime: 0, authorities: [authority([online])], horizon: far)
    #expect(floor.judge(wall: Self.now + TimeFloor.absurd, uptime: 0).doubt == nil)
    let judged = floor.judge(wall: Self.now + TimeFloor.absurd + 1, uptime: 0)
    #expect(judged.doubt == .ahead && judged.time == Self.now)
    #expect(floor.judge(wall: .max, uptime: 10).time == Self.now + 10)
    #expect(floor.judge(wall: .min, uptime: 10).time == Self.now + 10)
  }

  @Test func nobodyElsesWordCounts() {
    var floor = TimeFloor()
    let who = [authority([online])]
    #expect(floor.learn(said(Self.now, by: other), uptime: 0, authorities: who, horizon: far) == .unknownKey)
    #expect(floor.learn(said(Self.now), uptime: 0, authorities: who, horizon: far) == .unknownKey)
    #expect(floor.learn(said(-1, by: online), uptime: 0, authorities: who, horizon: far) == .unknownKey)
    #expect(floor == TimeFloor())
    // Where two must sign, one has said nothing.
    let two = [authority([online, other], threshold: 2)]
    #expect(floor.learn(said(Self.now, by: online), uptime: 0, authorities: two, horizon: far) == .unknownKey)
    #expect(floor.learn(said(Self.now, by: online, other), uptime: 0, authorities: two, horizon: far) == .raised)
  }

  @Test func aStatementBeyondWhatWasSignedOfflineIsNotBelieved() throws {
    var floor = TimeFloor()
    let root = try TUFRoot(parsing: TUFFixture().bytes("1.root.json")).document
    let horizon = TimeFloor.horizon([root])
    #expect(horizon == Int64(TUFFixture.days(365).timeIntervalSince1970) + TimeFloor.slack)
    let who = [authority([online])]
    #expect(
      floor.learn(said(horizon + 1, by: online), uptime: 0, authorities: who, horizon: horizon)
        == .implausible(latest: horizon))
    #expect(floor.entries.isEmpty)
    #expect(floor.learn(said(horizon, by: online), uptime: 0, authorities: who, horizon: horizon) == .raised)
    #expect(TimeFloor.horizon([TUFDocument]()) == TimeFloor.earliest + TimeFloor.slack)
  }

  @Test func whenARootTakesTheKeyAwayItsWordFallsAway() {
    var floor = TimeFloor()
    let before = [authority([online])]
    _ = floor.learn(said(Self.now, by: online), uptime: 0, authorities: before, horizon: far)
    let both = [authority([online]), authority([other])]
    _ = floor.learn(said(Self.now + 3000 * Self.day, by: other), uptime: 0, authorities: both, horizon: far)
    #expect(floor.judge(wall: Self.now + 60, uptime: 60).doubt == .behind, "the thief's future holds for now")
    #expect(floor.forget(allBut: both).isEmpty)
    #expect(floor.forget(allBut: before).map(\.time) == [Self.now + 3000 * Self.day])
    let judged = floor.judge(wall: Self.now + 60, uptime: 60)
    #expect(judged.doubt == nil && judged.time == Self.now + 60)
    #expect(floor.forget(allBut: []).count == 1)
    #expect(floor.time(at: 0) == TimeFloor.earliest)
  }

  @Test func whatWasKeptComesBackAndNonsenseIsLeftOut() throws {
    var floor = TimeFloor()
    _ = floor.learn(said(Self.now, by: online), uptime: 77, authorities: [authority([online])], horizon: far)
    let kept = try JSONValue(encoding: floor)
    #expect(try kept.decoded(as: TimeFloor.self) == floor)
    let bad: JSONValue = [
      "entries": [
        ["statement": ["time": .integer(.max), "source": "reply", "keys": ["a"]], "uptime": 0],
        ["statement": ["time": 5, "source": "reply", "keys": ["a"]], "uptime": -1],
        ["statement": ["time": .integer(Self.now), "source": "metadata", "keys": ["a"]], "uptime": 0],
      ]
    ]
    let read = try bad.decoded(as: TimeFloor.self)
    #expect(read.entries.map(\.statement.time) == [Self.now])
  }

  /// Random statements, readings and rotations against a plain model of the rules.
  @Test func propertiesHoldOverRandomHistories() {
    var random = SystemRandomNumberGenerator()
    let keys = (0..<4).map { _ in SigningKey.generate() }
    let names = keys.map(print)
    let authorities = keys.map { authority([$0]) }
    let horizon = Self.now + 1000 * Self.day
    for _ in 0..<300 {
      var floor = TimeFloor()
      var listed = Set(0..<4)
      var uptime: Int64 = 0
      // Each key's best statement, as time less uptime.
      var best: [Int: Int64] = [:]
      for _ in 0..<40 {
        uptime += Int64.random(in: 0...Self.day, using: &random)
        let before = floor.time(at: uptime)
        let who = listed.sorted().map { authorities[$0] }
        switch Int.random(in: 0..<10, using: &random) {
        case 0:
          if let gone = listed.randomElement(using: &random) {
            listed.remove(gone)
            best[gone] = nil
            _ = floor.forget(allBut: listed.sorted().map { authorities[$0] })
          }
        case 1:
          listed.insert(Int.random(in: 0..<4, using: &random))
        default:
          let key = Int.random(in: 0..<4, using: &random)
          let time = Self.now + Int64.random(in: -500...1500, using: &random) * Self.day
          let verdict = floor.learn(
            TimeStatement(time: time, source: .metadata, keys: [names[key]]), uptime: uptime, authorities: who,
            horizon: horizon)
          if !listed.contains(key) {
            #expect(verdict == .unknownKey)
          } else if time > horizon {
            #expect(verdict == .implausible(latest: horizon))
          } else {
            best[key] = max(best[key] ?? .min, time - uptime)
          }
          #expect(floor.time(at: uptime) >= before, "a statement lowered the floor")
        }
        let expected = max(TimeFloor.earliest, best.values.max() ?? .min) + uptime
        #expect(floor.time(at: uptime) == expected)
        let wall = Self.now + Int64.random(in: -20_000...20_000, using: &random) * Self.day / 10
        let judged = floor.judge(wall: wall, uptime: uptime)
        #expect(judged.time >= expected, "earlier than the floor")
        #expect(judged.time == expected || judged.time == wall)
        #expect((judged.doubt == .behind) == (wall < expected - TimeFloor.tolerance))
        #expect((judged.doubt == .ahead) == (!best.isEmpty && wall > expected + TimeFloor.absurd))
        #expect(judged.doubt == nil || judged.time == expected)
      }
    }
  }
}

@Suite("The hub's signed time")
struct TimeReplyTests {
  let online = SigningKey.generate()
  let fixture = TimeFloorTests()

  func read(_ envelope: DSSEEnvelope, _ keys: [SigningKey], device: String = "box", nonce: String = "n1") throws
    -> TimeStatement
  {
    try TimeReply.statement(
      in: envelope, device: device, nonce: nonce, authorities: keys.map { fixture.authority([$0]) })
  }

  @Test func anAnswerToThisBoxesNonceIsAStatementByThatKey() throws {
    let envelope = TimeReply.signed(device: "box", nonce: "n1", time: 1_800_000_000, key: online)
    let statement = try read(envelope, [online, SigningKey.generate()])
    #expect(statement.time == 1_800_000_000 && statement.source == .reply)
    #expect(statement.keys == [fixture.print(online)])
  }

  @Test func anotherBoxesAnotherQuestionsAndAnotherKeysAnswersAreRefused() throws {
    let envelope = TimeReply.signed(device: "box", nonce: "n1", time: 1_800_000_000, key: online)
    #expect(throws: TimeReplyError.replayed("it answers another nonce")) { try read(envelope, [online], nonce: "n2") }
    #expect(throws: TimeReplyError.self) { try read(envelope, [online], device: "other") }
    #expect(throws: TimeReplyError.unknownKey) { try read(envelope, [SigningKey.generate()]) }
    #expect(throws: TimeReplyError.unknownKey) { try read(envelope, []) }
    let both = fixture.authority([online, fixture.other], threshold: 2)
    #expect(throws: TimeReplyError.unknownKey) {
      try TimeReply.statement(in: envelope, device: "box", nonce: "n1", authorities: [both])
    }
  }

  @Test func aForgedOrBentOneIsRefused() throws {
    let honest = TimeReply.signed(device: "box", nonce: "n1", time: 1_800_000_000, key: online)
    let later: JSONValue = ["device": "box", "nonce": "n1", "time": 1_900_000_000]
    let bent = try JSONValue(encoding: honest)
    var members = try #require(bent.object)
    members["payload"] = .string(Base64.encode(later.encoded()))
    let forged = try JSONValue.object(members).decoded(as: DSSEEnvelope.self)
    #expect(throws: TimeReplyError.badSignature) { try read(forged, [online]) }
    // The same signature over another type is no reply.
    let other = DSSEEnvelope.sign(payload: later.encoded(), type: "text/plain", key: online, keyID: "x")
    #expect(throws: TimeReplyError.self) { try read(other, [online]) }
    for payload in [
      "{}", "[]", "x", #"{"device":"box","nonce":"n1","time":-5}"#, #"{"device":"box","nonce":"n1"}"#,
      #"{"device":"box","nonce":"n1","time":1.5}"#, #"{"device":"box","nonce":"n1","time":5,"more":1}"#,
    ] {
      let odd = DSSEEnvelope.sign(
        payload: Array(payload.utf8), type: TimeReply.payloadType, key: online, keyID: "x")
      #expect(throws: TimeReplyError.self, "\(payload)") { try read(odd, [online]) }
    }
  }

  @Test func aTimestampSaysWhenItWasSigned() throws {
    let key = SigningKey.generate()
    let root = TUFWriter.root(
      version: 1, expires: TUFFixture.days(9),
      roles: Dictionary(uniqueKeysWithValues: TUFRole.allCases.map { ($0, ([TUFKey(ed25519: key.verifyingKey)], 1)) }))
    var trusted = try TrustedMetadata(trustedRoot: root.signed(by: [key]))
    try trusted.finishRoot(now: TUFFixture.now)
    let bytes = try TUFWriter.timestamp(
      version: 1, expires: TUFFixture.days(7), snapshot: TUFFileMeta(version: 1), signedAt: TUFFixture.now
    ).signed(by: [key])
    _ = try trusted.updateTimestamp(bytes, now: TUFFixture.now)
    let timestamp = try #require(trusted.timestamp)
    let statement = try #require(
      TimeStatement(timestamp, signers: trusted.signers(of: "timestamp"), root: trusted.root))
    #expect(statement.time == 1_800_000_000 && statement.source == .metadata)
    #expect(TimeAuthority(trusted.root).vouches(for: statement.keys))
    let silent = try TUFWriter.timestamp(version: 2, expires: TUFFixture.days(7), snapshot: TUFFileMeta(version: 1))
      .signed(by: [key])
    #expect(try TUFTimestamp(TUFDocument(parsing: silent, as: .timestamp)).signedAt == nil)
  }
}

@Suite("Grace and staleness")
struct FreshnessTests {
  func root(_ policy: RepositoryPolicy) throws -> TUFRoot {
    let key = SigningKey.generate()
    return try TUFRoot(
      parsing: TUFWriter.root(
        version: 1, expires: TUFFixture.days(9),
        roles: Dictionary(
          uniqueKeysWithValues: TUFRole.allCases.map { ($0, ([TUFKey(ed25519: key.verifyingKey)], 1)) }), policy: policy
      ).signed(by: [key]))
  }

  @Test func theRootsPolicyIsReadAndItsAbsenceMeansNoGraceAndNoEnd() throws {
    #expect(RepositoryPolicy(try root(RepositoryPolicy())) == RepositoryPolicy())
    #expect(try root(RepositoryPolicy()).document.signed["skerry"] == nil)
    let policy = RepositoryPolicy(graceSeconds: 60, staleSeconds: 0)
    #expect(RepositoryPolicy(try root(policy)) == policy)
    let endless = RepositoryPolicy(graceSeconds: .max, staleSeconds: .max)
    #expect(RepositoryPolicy(try root(endless)).graceSeconds == RepositoryPolicy.longest)
  }

  @Test func nonsenseCountsAsAbsent() throws {
    var signed = try #require(try root(RepositoryPolicy()).document.signed.object)
    signed["skerry"] = ["graceSeconds": "7d", "staleSeconds": -1]
    let key = SigningKey.generate()
    let bytes = try TUFSigned(json: .object(signed)).signed(by: [key])
    #expect(RepositoryPolicy(try TUFRoot(parsing: bytes)) == RepositoryPolicy())
  }

  @Test func staleFromTheFirstExpiryAndRefusedOnlyWhereThePolicySaysSo() {
    let expires: [String: Int64] = ["root": 1000, "timestamp": 100, "targets": 500]
    let fresh = Freshness(expires: expires, policy: RepositoryPolicy(staleSeconds: 50), now: 99)
    #expect(!fresh.isStale && fresh.refusesAt == 150 && !fresh.isRefused)
    let stale = Freshness(expires: expires, policy: RepositoryPolicy(staleSeconds: 50), now: 149)
    #expect(stale.expired == ["timestamp"] && stale.staleSince == 100 && !stale.isRefused)
    #expect(Freshness(expires: expires, policy: RepositoryPolicy(staleSeconds: 50), now: 150).isRefused)
    let forever = Freshness(expires: expires, policy: RepositoryPolicy(), now: .max)
    #expect(forever.isStale && !forever.isRefused && forever.expired == ["root", "targets", "timestamp"])
    #expect(!Freshness(expires: [:], policy: RepositoryPolicy(staleSeconds: 0), now: 5).isRefused)
  }

  @Test func theTimeIsAskedForOnceTheRootIsTheNewest() async throws {
    var repository = try TUFFixture()
    let client = TUFTestClient(root: try repository.bytes("1.root.json"))
    repository.rootVersion = 2
    try repository.signRoot(by: repository.rootKeys)
    var asked: [Int64] = []
    _ = try await TUFWorkflow.refresh(
      local: client.local,
      time: { root in
        asked.append(root.document.version)
        return TUFFixture.now
      }, fetch: { file, _ in repository.files[file] }, persist: { _, _ in })
    #expect(asked == [2])
  }
}
