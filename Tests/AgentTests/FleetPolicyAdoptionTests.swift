import Access
import Fleet
import FoundationEssentials
import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// A box with a fleet: an image repository, a director, and the way in.
final class PolicyBox: Sendable {
  let scratch: Scratch
  let records = Records()
  let publisher = Publisher()
  let device: DeviceID
  private let time = AccessControlTests.SettableTime()
  /// What the hub serves among the targets, by the digest.
  let served = Mutex<[Digest: [UInt8]]>([:])
  /// The targets that the director names; nil: all that are published.
  let chosen = Mutex<[TUFTarget]?>(nil)
  let log: AuditLog

  init() throws {
    scratch = try Scratch()
    device = try DeviceIdentity.open(directory: scratch.path + "/keys").id
    time.now = 1_800_000_000
    let time = time
    log = try AuditLog(
      directory: scratch.path + "/audit", key: SigningKey.generate(), origin: "box",
      milliseconds: { time.now * 1000 })
  }

  var now: Int64 {
    get { time.now }
    set { time.now = newValue }
  }

  struct Running: Sendable {
    let box: PolicyBox
    let access: AccessControl
    let registry: ModelRegistry
    let policies: FleetPolicies
    let clock: TrustedClock

    /// A sync.
    @discardableResult
    func sync() async throws -> Intake.Outcome {
      let hub = try box.hub()
      return try await Intake(registry: registry, device: box.device, clock: clock, audit: access.audit).run(from: hub)
    }

    func may(_ caller: Caller, _ verb: Verb, _ resource: Resource) -> Bool { access.allows(caller, verb, resource) }
  }

  /// The agent begins, in this folder or in a copy of it.
  func start(in folder: String? = nil, audit: AuditWriter? = nil) async throws -> Running {
    let folder = folder ?? scratch.path
    let database = try Database(path: folder + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let (records, log, time) = (records, log, time)
    let writer: AuditWriter =
      audit ?? { kind, actor, fields in
        try await records.writer(kind, actor, fields)
        try await log.append(AuditEvent(kind: kind, actor: actor, fields: fields))
      }
    let now: @Sendable () -> Int64 = { time.now }
    let access = try await AccessControl(
      policyFile: folder + "/roles.json5", database: database, now: now, audit: writer)
    let root = try publisher.root()
    let registry = try await ModelRegistry.open(
      database: database, directory: folder + "/registry", audit: writer,
      vouching: Vouching(device: device) { Digest(of: root) }, now: now)
    if await registry.trusted == nil { try await registry.trust(root: root) }
    let policies = FleetPolicies(access: access, directory: folder + "/policy", log: log)
    try await policies.recall(registry)
    await registry.setPolicies(policies)
    let clock = TrustedClock(path: nil) {
      TrustedClock.Reading(wall: time.now, monotonic: 0, boot: "")
    }
    return Running(box: self, access: access, registry: registry, policies: policies, clock: clock)
  }

  // MARK: the fleet

  static func document(
    serial: Int64 = 1, expires: String = "2027-06-01T00:00:00Z", ceiling: String = #"["infer:model:q*"]"#,
    trial: String = "{}", more: String = ""
  ) -> String {
    """
    // serial \(serial)
    {version: 1, serial: \(serial), expires: "\(expires)", staleRoles: ["chat"], ceiling: \(ceiling), trial: \(trial),
     policy: {version: 1, roles: {
        chat: {allow: [{verbs: ["infer"], resources: ["model:smol"]}]},
        auditor: {allow: [{verbs: ["audit.read"], resources: ["audit:*"]}]},
        chief: {inherits: ["chat"], allow: [{verbs: ["*"], resources: ["*"]}]}\(more)},
       bindings: [{role: "chat", subjects: ["local"]}, {role: "chief", subjects: ["uid:0"]}],
       forbid: [{verbs: ["infer"], resources: ["model:bad"]}],
       separation: {static: {apart: {roles: ["chief", "auditor"]}}}}}
    """
  }

  /// Signs it into the image repository, in the place of the one of its name.
  @discardableResult
  func publish(_ text: String, name: String = "default", serial: Int64? = nil) throws -> PolicyTarget {
    let bytes = Array(text.utf8)
    let stated = serial ?? (try? FleetPolicy(parsing: bytes).serial) ?? 1
    let target = PolicyTarget(
      name: try #require(ModelName(name)), serial: stated, length: UInt64(bytes.count), sha256: Digest(of: bytes))
    served.withLock { $0[target.sha256] = bytes }
    publisher.state.withLock { state in
      state.targets.removeAll { $0.path == target.path }
      state.targets.append(target.target)
    }
    return target
  }

  private let version = Mutex<Int64>(0)

  struct Hub: FleetSource {
    let publisher: Publisher
    let image: [String: [UInt8]]
    let director: [String: [UInt8]]
    let targets: [Digest: [UInt8]]
    func imageMetadata(_ file: String, limit: Int) async throws -> [UInt8]? { image[file] }
    func directorMetadata(_ file: String, limit: Int) async throws -> [UInt8]? { director[file] }
    func index(_ digest: Digest, limit: Int) async throws -> [UInt8] {
      try await publisher.index(digest, limit: limit)
    }
    func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] { try await publisher.chunk(id, limit: limit) }
    func target(_ path: String, _ digest: Digest, limit: Int) async throws -> [UInt8] {
      guard let bytes = targets[digest] else { throw RegistryError.notServed(path) }
      return bytes
    }
  }

  /// The hub as it is now: each time everything is signed anew.
  func hub() throws -> Hub {
    let next = version.withLock { version in
      version += 1
      return version
    }
    let image = try publisher.metadata()
    var director = DirectorFiles(
      publisher, device: device, targets: chosen.withLock { $0 } ?? publisher.state.withLock(\.targets))
    director.version = next
    var files = try director.files()
    files["1.root.json"] = try director.root()
    return Hub(publisher: publisher, image: image, director: files, targets: served.withLock { $0 })
  }

  func attacks() -> [String] { records.of("attack").compactMap { $0.fields["attack"]?.string } }
  func events() -> [String] { records.of("policy").compactMap { $0.fields["event"]?.string } }
}

@Suite struct FleetPolicyTests {
  let box: PolicyBox
  let root = Caller.local(uid: 0, name: "root", groups: [])
  let ann = Caller.local(uid: 4_000_000_001, name: nil, groups: [])

  init() throws { box = try PolicyBox() }

  private func row(_ running: PolicyBox.Running) async throws -> FleetPolicyRow? {
    try await running.access.database.read { try FleetPolicyRow.load($0) }
  }

  private func file(_ target: PolicyTarget) -> String { "\(box.scratch.path)/policy/\(target.sha256.hex).json5" }

  @Test func thePolicyThatBothNameIsTakenOver() async throws {
    let running = try await box.start()
    #expect(running.may(ann, .infer, .model("other")))
    #expect(running.access.fleetJSON() == .null)
    let text = PolicyBox.document()
    let target = try box.publish(text)
    let outcome = try await running.sync()
    #expect(outcome.isPolicyChanged && outcome.failures.isEmpty && box.attacks().isEmpty)
    // The box's built-in roles gave more: now the fleet's count.
    #expect(running.may(ann, .infer, .model("smol")) && !running.may(ann, .infer, .model("other")))
    #expect(running.may(root, .roleManage, .role("chat")))
    #expect(running.access.fleetState == "in force")
    let record = try #require(box.records.of("policy").last)
    #expect(record.fields["event"] == "adopted" && record.fields["serial"] == 1)
    #expect(record.fields["sha256"]?.string == target.sha256.hex && record.fields["replayed"] != nil)
    #expect(try DurableFile.read(file(target)) == Array(text.utf8))
    // Nothing happens twice, and the next start finds it.
    #expect(try await running.sync().isPolicyChanged == false)
    #expect(
      await Intake(registry: running.registry, device: box.device, clock: running.clock, audit: box.records.writer)
        .hasWork() == false)
    let again = try await box.start()
    #expect(!again.may(ann, .infer, .model("other")) && again.access.fleetState == "in force")
    #expect(box.attacks().isEmpty && box.events() == ["adopted"])
    // A policy that is named no longer stays.
    box.chosen.withLock { $0 = [] }
    _ = try await again.sync()
    #expect(again.access.fleetState == "in force")
  }

  @Test func whatTheHubOrTheDirectorMakesUpIsRefused() async throws {
    let running = try await box.start()
    let target = try box.publish(PolicyBox.document())
    // The director names another file than the publisher signed.
    let forged = Array(PolicyBox.document(serial: 9, ceiling: #"["*"]"#).utf8)
    let evil = PolicyTarget(
      name: target.name, serial: 9, length: UInt64(forged.count), sha256: Digest(of: forged))
    box.served.withLock { $0[evil.sha256] = forged }
    box.chosen.withLock { $0 = [evil.target] }
    try await running.sync()
    #expect(box.attacks() == ["director-disagrees"] && running.access.fleetState == nil)
    // One that no publisher knows.
    let foreign = PolicyTarget(
      name: try #require(ModelName("foreign")), serial: 9, length: evil.length, sha256: evil.sha256)
    box.chosen.withLock { $0 = [foreign.target] }
    try await running.sync()
    #expect(box.attacks().last == "foreign-image")
    box.chosen.withLock { $0 = [target.target, target.target].map { $0 } + [foreign.target] }
    try await running.sync()
    // The hub serves other bytes than were signed.
    box.chosen.withLock { $0 = nil }
    box.served.withLock { $0[target.sha256] = forged }
    try await running.sync()
    #expect(box.attacks().last == "tampered-content" && running.access.fleetState == nil)
    #expect(running.may(ann, .infer, .model("other")))
  }

  @Test func aSerialNeverGoesBack() async throws {
    let running = try await box.start()
    try box.publish(PolicyBox.document(serial: 5))
    try await running.sync()
    for text in [PolicyBox.document(serial: 4), PolicyBox.document(serial: 5, ceiling: #"["*"]"#)] {
      try box.publish(text)
      let before = box.attacks().count
      try await running.sync()
      #expect(box.attacks().dropFirst(before) == ["rollback"])
      #expect(try await row(running)?.serial == 5 && running.access.fleetJSON()["ceiling"] == ["infer:model:q*"])
    }
    // Not after a detour by another policy either, nor after a restart.
    try box.publish(PolicyBox.document(serial: 1), name: "ships")
    box.chosen.withLock { $0 = [] }
    let ships = try box.publish(PolicyBox.document(serial: 1), name: "ships")
    box.chosen.withLock { $0 = [ships.target] }
    try await running.sync()
    #expect(running.access.fleetJSON()["name"] == "ships")
    let again = try await box.start()
    let back = try box.publish(PolicyBox.document(serial: 4))
    box.chosen.withLock { $0 = [back.target] }
    let before = box.attacks().count
    try await again.sync()
    #expect(box.attacks().dropFirst(before) == ["rollback"] && again.access.fleetJSON()["name"] == "ships")
    // The one that it had may come again, and nothing else by its serial.
    let other = try box.publish(PolicyBox.document(serial: 5, ceiling: #"["*"]"#))
    box.chosen.withLock { $0 = [other.target] }
    try await again.sync()
    #expect(box.attacks().dropFirst(before) == ["rollback", "rollback"] && again.access.fleetJSON()["name"] == "ships")
    let same = try box.publish(PolicyBox.document(serial: 5))
    box.chosen.withLock { $0 = [same.target] }
    try await again.sync()
    #expect(box.attacks().count == before + 2)
    #expect(again.access.fleetJSON()["name"] == "default" && again.access.fleetJSON()["serial"] == 5)
  }

  @Test func aLostRowLetsNothingElseInByItsSerial() async throws {
    let running = try await box.start()
    try box.publish(PolicyBox.document(serial: 5))
    try await running.sync()
    try await running.access.database.write { try $0.execute("DELETE FROM fleet_policy") }
    let again = try await box.start()
    #expect(box.attacks() == ["tampered-content"])
    try box.publish(PolicyBox.document(serial: 5, ceiling: #"["*"]"#))
    try await again.sync()
    #expect(box.attacks() == ["tampered-content", "rollback"] && again.access.fleetState == "damaged")
    // The same one mends it.
    try box.publish(PolicyBox.document(serial: 5))
    try await again.sync()
    #expect(again.access.fleetState == "in force" && again.access.fleetJSON()["ceiling"] == ["infer:model:q*"])
    // So does it where the digest was not written down yet; it is from then on.
    let file = SerialFile(path: box.scratch.path + "/policy/serials.json")
    try DurableFile.replace(file.path, with: Array(#"{"default":5}"#.utf8))
    #expect(try await box.start().access.fleetState == "in force" && file.load()["default"]?.sha256 != nil)
  }

  @Test func aKeptPolicyOfTheSameSerialIsNotAnotherOne() async throws {
    let running = try await box.start()
    try box.publish(PolicyBox.document(serial: 5))
    try await running.sync()
    let file = SerialFile(path: box.scratch.path + "/policy/serials.json")
    try file.save(["default": SerialFile.Had(serial: 5, sha256: Digest(of: "another".utf8))])
    #expect(try await box.start().access.fleetState == "damaged" && box.attacks() == ["rollback"])
  }

  @Test(arguments: [
    ("{version: 1", "no JSON5"), ("serial: 2, exp", "serial: 2, unknown: 1, exp"), ("model:smol", "box:smol"),
    (#"subjects: ["uid:0"]"#, "subjects: []"), ("serial: 2", "serial: 3"), ("2027-06-01", "2020-06-01"),
    (#"staleRoles: ["chat"]"#, #"staleRoles: ["chief"]"#),
    (
      #"{role: "chief", subjects: ["uid:0"]}"#,
      #"{role: "chief", subjects: ["uid:0"]}, {role: "auditor", subjects: ["uid:0"]}"#
    ),
  ])
  func aBadOneChangesNothing(_ from: String, _ to: String) async throws {
    let running = try await box.start()
    let good = PolicyBox.document()
    let target = try box.publish(good)
    try await running.sync()
    let text = PolicyBox.document(serial: 2).replacing(from, with: to)
    let bad = try box.publish(text, serial: 2)
    let outcome = try await running.sync()
    #expect(outcome.failures.count == 1 && !outcome.isPolicyChanged)
    #expect(box.events() == ["adopted", "refused"])
    #expect(box.records.of("policy").last?.fields["reason"]?.string?.isEmpty == false)
    #expect(running.access.refusalJSON()["sha256"]?.string == bad.sha256.hex)
    // The last good one, byte for byte; and it is not tried again and again.
    #expect(try DurableFile.read(file(target)) == Array(good.utf8))
    #expect(try await row(running)?.document == Array(good.utf8))
    #expect(running.access.fleetJSON()["serial"] == 1 && !running.policies.needs(bad))
    let again = try await box.start()
    #expect(again.access.fleetState == "in force" && box.attacks().isEmpty)
  }

  @Test func itIsTriedOnWhatWasDecided() async throws {
    let running = try await box.start()
    for number in UInt32(0)..<5 {
      try await running.access.authorize(
        .local(uid: 4_000_000_001 + number, name: nil, groups: []), .infer, .model("other"))
    }
    try await running.access.authorize(ann, .infer, .model("smol"))
    let strict = try box.publish(PolicyBox.document(trial: "{days: 2, mostChanged: 4}"))
    let outcome = try await running.sync()
    let message = try #require(outcome.failures.first?.message)
    #expect(message.contains("5 callers of the last 2 days would lose or gain something"))
    #expect(message.contains("5 of 6 decisions would come out otherwise") && message.contains("it lets 4"))
    #expect(running.access.fleetState == nil && !running.policies.needs(strict))
    // Whoever writes it can see that beforehand.
    let tried = try running.access.simulate(Array(PolicyBox.document().utf8), days: 2, log: box.log)
    #expect(
      tried.changes.map { "\($0.resource) \($0.wasAllowed) \($0.times)" }
        == Array(repeating: "model:other true 1", count: 5))
    #expect(throws: ConfigurationError.self) {
      try running.access.simulate(Array("{serial: 1, policy: {}}".utf8), days: 2, log: box.log)
    }
    try box.publish(PolicyBox.document(serial: 2, trial: "{mostChanged: 5}"))
    try await running.sync()
    let record = try #require(box.records.of("policy").last)
    #expect(record.fields["replayed"] == 6 && record.fields["changed"] == 5 && record.fields["denied"] == 5)
    #expect(running.access.fleetJSON()["changed"] == 5)
    // The next one changes nothing more, though the old records still stand there.
    try box.publish(PolicyBox.document(serial: 3, trial: "{mostChanged: 0}"))
    try await running.sync()
    #expect(running.access.fleetJSON()["serial"] == 3)
  }

  /// Who is to lose something can't keep it by asking often, nor for many things.
  @Test func oneCallerDoesNotVetoAPolicy() async throws {
    let running = try await box.start()
    for number in 0..<1000 { try await running.access.authorize(ann, .infer, .model("m\(number % 500)")) }
    try box.publish(PolicyBox.document(trial: "{mostChanged: 4}"))
    try await running.sync()
    #expect(running.access.fleetJSON()["changed"] == 1000 && !running.may(ann, .infer, .model("m1")))
    #expect(box.events() == ["adopted"])
  }

  @Test func theBoxAddsUpToTheCeiling() async throws {
    let running = try await box.start()
    try await running.access.bind("operator", to: "user:early", by: root)
    try box.publish(
      PolicyBox.document(more: #", q: {allow: [{verbs: ["infer"], resources: ["model:qwen"]}]}"#))
    try await running.sync()
    // What was bound before counts no longer, and is named.
    #expect(running.access.fleetJSON()["ignored"]?.array?.isEmpty == false)
    #expect(!running.may(.local(uid: 9, name: "early", groups: []), .syncRun, .all(for: .syncRun)))
    try await running.access.bind("q", to: "user:late", by: root)
    #expect(running.may(.local(uid: 9, name: "late", groups: []), .infer, .model("qwen")))
    await #expect(throws: AccessFailure.self) { try await running.access.bind("auditor", to: "user:late", by: root) }
    do { _ = try await running.access.createToken("app", roles: ["chat"], expiresInSeconds: nil, by: root) } catch let
      failure as AccessFailure
    {
      guard case .beyondCeiling(let reason) = failure else { throw failure }
      #expect(reason.contains("chat allows infer on model:smol") || reason.contains("infer on model:smol"))
    }
    _ = try await running.access.createToken("app", roles: ["q"], expiresInSeconds: nil, by: root)
    do { try await running.access.unbind("chat", from: "local", by: root) } catch let failure as AccessFailure {
      #expect(failure == .boundByFleet(role: "chat", subject: "local"))
    }
    // A file that wants more gets no more, and what it forbids is forbidden.
    try DurableFile.replace(
      box.scratch.path + "/roles.json5",
      with: Array(
        """
        {version: 1, roles: {mine: {allow: [{verbs: ["*"], resources: ["*"]}]}},
         bindings: [{role: "mine", subjects: ["local"]}], forbid: [{verbs: ["infer"], resources: ["model:qwen"]}]}
        """.utf8))
    try await running.access.reload()
    #expect(!running.may(ann, .roleManage, .role("chat")) && !running.may(ann, .infer, .model("other")))
    #expect(!running.may(.token("app"), .infer, .model("qwen")))
    // So does a policy file that comes in a bundle.
    #expect(try await running.access.adopt(Array(AccessControl.builtInPolicy.utf8), from: "a bundle"))
    #expect(!running.may(ann, .infer, .model("other")))
  }

  @Test func whatHasExpiredLeavesTheStaleRoles() async throws {
    let running = try await box.start()
    try box.publish(PolicyBox.document())
    try await running.sync()
    let keeper = ClockKeeper(
      clock: running.clock, audit: box.records.writer, access: running.access, registry: running.registry)
    await keeper.look()
    let emergency = Binding(role: "chief", subject: "uid:\(4_000_000_001)")
    box.now = 1_811_808_000 - 1
    #expect(running.may(root, .roleManage, .role("chat")))
    box.now += 1
    #expect(!running.may(root, .roleManage, .role("chat")) && running.may(root, .infer, .model("smol")))
    #expect(running.may(ann, .infer, .model("smol")) && !running.may(root, .infer, .model("bad")))
    #expect(running.access.fleetState == "stale")
    await keeper.look()
    #expect(box.events() == ["adopted", "in-force", "stale"])
    #expect(running.access.fleetReport()?.state == "stale")
    // A sealed code still opens all of its role.
    running.access.lend(
      Loan(id: "1", binding: emergency, label: "ann", until: running.access.monotonic() + .seconds(60)))
    #expect(running.may(ann, .roleManage, .role("chat")))
    running.access.takeBack("1")
    // The next start knows it as well, and the next sync brings a newer one; what was refused meanwhile is no change.
    let again = try await box.start()
    #expect(again.access.fleetState == "stale" && !again.may(root, .roleManage, .role("chat")))
    _ = try? await again.access.authorize(root, .auditRead, .all(for: .auditRead))
    try box.publish(
      PolicyBox.document(serial: 2, expires: "2028-06-01T00:00:00Z", trial: "{mostChanged: 0}"))
    try await again.sync()
    #expect(again.access.fleetState == "in force" && again.may(root, .roleManage, .role("chat")))
    #expect(box.attacks().isEmpty)
  }

  @Test func whatWasChangedOnTheDiskIsNotBelieved() async throws {
    let running = try await box.start()
    let target = try box.publish(PolicyBox.document())
    try await running.sync()
    // Each in every way that a disk allows, in a copy: what a box makes of it, and whether a sync mends it.
    let wide = Array(PolicyBox.document(ceiling: #"["*"]"#).utf8)
    let digest = Digest(of: wide)
    let kept = "policy/\(target.sha256.hex).json5"
    let foreign = "UPDATE fleet_policy SET sha256 = '\(digest.hex)', document = x'\(Hex.encode(wide))'"
    let cases: [(name: String, sql: String, files: [String: [UInt8]?], infers: Bool, attack: String)] = [
      ("file edited", "", [kept: wide], true, "tampered-content"),
      ("file gone", "", [kept: nil as [UInt8]?], true, "tampered-content"),
      ("both copies edited", "UPDATE fleet_policy SET document = x'00'", [kept: wide], false, "tampered-content"),
      ("another in every place", foreign, ["policy/\(digest.hex).json5": wide], false, "foreign-image"),
      ("row gone", "DELETE FROM fleet_policy", [:], false, "tampered-content"),
      ("voucher gone", "DELETE FROM vouchers", [:], false, "foreign-image"),
      ("older than was had", "", ["policy/serials.json": Array(#"{"default":7}"#.utf8)], true, "rollback"),
    ]
    for one in cases {
      let copy = try Scratch()
      let folder = copy.path + "/x"
      try FileManager.default.copyItem(atPath: box.scratch.path, toPath: folder)
      if !one.sql.isEmpty {
        let database = try Database(path: folder + "/agent.sqlite", migrations: AgentDatabase.migrations)
        try await database.write { try $0.execute(one.sql) }
        database.close()
      }
      for (name, bytes) in one.files {
        if let bytes {
          try DurableFile.replace("\(folder)/\(name)", with: bytes)
        } else {
          try DurableFile.remove("\(folder)/\(name)")
        }
      }
      let before = box.attacks().count
      let found = try await box.start(in: folder)
      #expect(box.attacks().dropFirst(before) == [one.attack], "\(one.name)")
      #expect(found.access.fleetState == "damaged", "\(one.name)")
      // Not nothing, and not all.
      #expect(!found.may(root, .roleManage, .role("chat")), "\(one.name)")
      #expect(!found.may(ann, .infer, .model("other")), "\(one.name)")
      #expect(found.may(ann, .infer, .model("smol")) == one.infers, "\(one.name)")
      #expect(found.may(ann, one.infers ? .infer : .statusRead, one.infers ? .model("smol") : .all(for: .statusRead)))
      guard one.attack != "rollback" else { continue }
      #expect(found.policies.needs(target))
      try await found.sync()
      #expect(found.access.fleetState == "in force" && found.may(root, .roleManage, .role("chat")), "\(one.name)")
      #expect(try await row(found)?.sha256 == target.sha256)
      #expect(try DurableFile.read("\(folder)/\(kept)") == Array(PolicyBox.document().utf8))
    }
  }

  /// A kill at each step leaves the last good one or the next, whole.
  @Test func aKillAtEachStepLeavesOneOrTheOther() async throws {
    let first = try await box.start()
    let old = try box.publish(PolicyBox.document())
    try await first.sync()
    let next = try box.publish(PolicyBox.document(serial: 2, ceiling: #"["infer"]"#))
    // What lies on the disk when the record is written: the next one's file, and the old row.
    let album = try Scratch()
    let shots = Mutex<[String]>([])
    let (folder, records) = (box.scratch.path, box.records)
    let second = try await box.start { kind, actor, fields in
      if kind == .policy {
        try shots.withLock { shots in
          let copy = "\(album.path)/\(shots.count)"
          try FileManager.default.copyItem(atPath: folder, toPath: copy)
          shots.append(copy)
        }
      }
      try await records.writer(kind, actor, fields)
    }
    try await second.sync()
    try FileManager.default.copyItem(atPath: folder, toPath: album.path + "/done")
    // The row is there, and what follows it is not.
    try FileManager.default.copyItem(atPath: folder, toPath: album.path + "/row")
    try DurableFile.replace(album.path + "/row/policy/serials.json", with: Array(#"{"default":1}"#.utf8))
    try DurableFile.replace(
      "\(album.path)/row/policy/\(old.sha256.hex).json5", with: Array(PolicyBox.document().utf8))
    let before = shots.withLock { $0 }
    #expect(before.count == 1)
    for (copy, serial) in before.map({ ($0, Int64(1)) }) + [("\(album.path)/row", 2), ("\(album.path)/done", 2)] {
      let found = try await box.start(in: copy)
      #expect(found.access.fleetState == "in force" && box.attacks().isEmpty)
      #expect(found.access.fleetJSON()["serial"] == .integer(serial))
      let kept = serial == 1 ? old : next
      #expect(
        try DurableFile.names(in: copy + "/policy").sorted() == ["\(kept.sha256.hex).json5", "serials.json"].sorted())
      let had = SerialFile.Had(serial: serial, sha256: kept.sha256)
      #expect(SerialFile(path: copy + "/policy/serials.json").load() == ["default": had])
      try await found.sync()
      #expect(found.access.fleetJSON()["serial"] == 2)
    }
  }

  @Test func withoutADurableRecordNothingIsTakenOver() async throws {
    let running = try await box.start()
    try box.publish(PolicyBox.document())
    box.records.fail(true)
    await #expect(throws: (any Error).self) { try await running.sync() }
    box.records.fail(false)
    #expect(try await row(running) == nil && running.access.fleetState == nil)
    #expect(try await box.start().access.fleetState == nil)
    try await running.sync()
    #expect(running.access.fleetState == "in force")
  }
}
