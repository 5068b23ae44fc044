import Fleet
import FoundationEssentials
import Models
import Storage
import Testing
import Trust
import Web

@testable import Hub

extension TestHub {
  /// The director's root as a publisher signs it.
  func directorRoot(
    version: Int64 = 1, root newRoot: SigningKey? = nil, online: SigningKey? = nil, signers: [SigningKey]? = nil,
    binding: TUFBinding = TUFBinding(repository: TUFBinding.director)
  ) throws -> [UInt8] {
    let onlineKey = try #require(Hex.decode(created.onlineKey).flatMap { VerifyingKey(bytes: $0) })
    let role: (keys: [TUFKey], threshold: Int) = ([TUFKey(ed25519: online?.verifyingKey ?? onlineKey)], 1)
    return try TUFWriter.root(
      version: version, expires: Self.inAYear,
      roles: [
        .root: ([TUFKey(ed25519: (newRoot ?? root).verifyingKey)], 1), .targets: role, .snapshot: role,
        .timestamp: role,
      ]
    ).bound(to: binding).signed(by: signers ?? [root])
  }

  func putDirector(_ version: Int, _ bytes: [UInt8]) async throws {
    #expect(try await admin("PUT", "/repo/director/\(version).root.json", body: bytes).status == 204)
  }

  /// Uploads a small model's content and returns the target that names it.
  func model(_ name: String, _ version: String, seed: UInt8 = 0) async throws -> TUFTarget {
    let bytes = [UInt8](repeating: seed, count: 16384) + Array("\(name) \(version)".utf8)
    let id = Digest(of: bytes)
    #expect(try await admin("PUT", "/repo/chunks/\(id)", body: Zstd.compress(bytes)).status == 204)
    let index = ChunkIndex(chunks: [(length: bytes.count, id: id)]).caibx
    #expect(try await admin("PUT", "/repo/indexes/\(Digest(of: index))", body: index).status == 204)
    let manifest = ModelManifest(
      name: try #require(ModelName(name)), version: try #require(ModelVersion(version)), fileName: "\(name).gguf",
      length: UInt64(bytes.count), sha256: id, index: .init(length: UInt64(index.count), sha256: Digest(of: index)),
      architecture: "llama", contextLength: 64)
    return TUFTarget(path: manifest.targetPath, length: manifest.length, sha256: id, custom: manifest.customJSON)
  }

  func publish(_ version: Int64, _ targets: [TUFTarget]) async throws {
    try await put("\(version).targets.json", targetsFile(version: version, targets))
    let answer = try await commit()
    #expect(answer.status == 200, "\(answer.text)")
  }

  /// What a box gets from its director by TUF's workflow; nil when there is none.
  func director(_ device: DeviceID, now: Date = Date()) async throws -> TrustedMetadata? {
    func get(_ file: String) async throws -> [UInt8]? {
      let answer = try await send("GET", "/repo/director/\(device)/\(file)")
      return answer.status == 200 ? answer.body : nil
    }
    guard let root = try await get("1.root.json") else { return nil }
    return try await TUFWorkflow.refresh(local: TUFLocalState(root: root), now: now) { file, _ in
      try await get(file)
    } persist: { _, _ in
    }
  }

  func directed(_ device: DeviceID) async throws -> [String] {
    let trusted = try #require(try await director(device))
    return try DirectorStatement(#require(trusted.targetsMetadata)).entries.map {
      $0.target.path.split(separator: "/")[1...2].joined(separator: ":") + ($0.isRollback ? "!" : "")
    }
  }
}

@Suite struct DirectorTests {
  private func fleet(_ body: (TestHub, ScriptedDevice) async throws -> Void) async throws {
    try await TestHub.with { hub in
      try await hub.putDirector(1, hub.directorRoot())
      try await hub.publish(
        2, [hub.model("one", "1"), hub.model("two", "1"), hub.model("two", "2")])
      try await body(hub, ScriptedDevice.enrolled(hub))
    }
  }

  private func version(_ device: ScriptedDevice, seen: RepositoryVersions? = nil) async throws -> Int64 {
    var request = device.syncRequest()
    request.director = seen
    let answer = try await device.post("/v1/sync", request)
    return try #require(try answer.json["directorVersion"]?.integer, "\(answer.text)")
  }

  @Test func aBoxGetsThePolicyThatIsAssigned() async throws {
    try await fleet { hub, device in
      func policy(_ name: String) async throws -> TUFTarget {
        let bytes = Array("{/* \(name) */}".utf8)
        let made = PolicyTarget(
          name: try #require(ModelName(name)), serial: 1, length: UInt64(bytes.count), sha256: Digest(of: bytes))
        let answer = try await hub.send(
          "PUT", "/admin/v1/repo/targets/\(made.filePath)",
          headers: [
            "Authorization": "Bearer \(hub.created.adminToken)",
            "Content-Range": "bytes 0-\(bytes.count - 1)/\(bytes.count)",
          ], body: bytes)
        #expect(answer.status == 200, "\(answer.text)")
        return made.target
      }
      func policies() async throws -> [String] {
        let trusted = try #require(try await hub.director(device.id))
        return try #require(trusted.targetsMetadata).targets.map(\.path).filter { $0.hasPrefix("policies/") }
      }
      func choose(_ name: JSONValue) async throws -> Int {
        try await hub.admin(
          "POST", "/devices/\(device.id)/policy", body: JSONValue.object(["policy": name]).encoded()
        ).status
      }
      #expect(try await policies() == [])
      #expect(try await choose("ships") == 404)
      let models = [try await hub.model("one", "1")]
      try await hub.publish(3, models + [policy("default"), policy("ships")])
      #expect(try await policies() == ["policies/default.json5"])
      #expect(try await choose("ships") == 200)
      #expect(try await policies() == ["policies/ships.json5"])
      // Other models leave it alone, and a rollback does.
      #expect(try await assign(hub, device, "[]") == 200)
      #expect(try await policies() == ["policies/ships.json5"])
      #expect(try await choose("boats") == 404)
      #expect(try await choose(.null) == 200)
      #expect(try await policies() == ["policies/default.json5"])
      #expect(try await hub.admin("GET", "/devices/\(device.id)").json["assigned"] == [])
    }
  }

  private func assign(_ hub: TestHub, _ device: ScriptedDevice, _ words: String) async throws -> Int {
    try await hub.admin("POST", "/devices/\(device.id)/assign", body: Array(#"{"models":\#(words)}"#.utf8)).status
  }

  @Test func eachBoxGetsWhatItIsAssignedAndNoOther() async throws {
    try await fleet { hub, device in
      let other = try await ScriptedDevice.enrolled(hub, name: "other")
      #expect(try await hub.directed(device.id) == ["one:1", "two:2"])
      #expect(try await assign(hub, device, #"["two:1"]"#) == 200)
      #expect(try await hub.directed(device.id) == ["two:1"])
      #expect(try await hub.directed(other.id) == ["one:1", "two:2"])
      #expect(try await assign(hub, device, "[]") == 200)
      #expect(try await hub.directed(device.id) == [])
      #expect(try await assign(hub, device, "null") == 200)
      #expect(try await hub.directed(device.id) == ["one:1", "two:2"])
      #expect(try await assign(hub, device, #"["../x"]"#) == 400)
      // All files of a box are bound to it, and its targets are the image repository's to the byte.
      let trusted = try #require(try await hub.director(device.id))
      for document in [
        trusted.timestamp?.document, trusted.snapshot?.document, trusted.targetsMetadata?.document,
      ] { #expect(TUFBinding(of: try #require(document)).device == device.id.hex) }
      let image = try await hub.update(TUFLocalState(root: hub.rootFile()))
      #expect(trusted.targets == [image.targets[0], image.targets[2]])
    }
  }

  @Test func versionsRiseOnlyWithTheContent() async throws {
    try await fleet { hub, device in
      #expect(try await version(device) == 1)
      #expect(try await version(device) == 1)
      #expect(try await assign(hub, device, #"["one"]"#) == 200)
      #expect(try await version(device) == 2)
      #expect(try await assign(hub, device, #"["one:1"]"#) == 200)
      #expect(try await version(device) == 2)
      try await hub.publish(3, [hub.model("one", "1")])
      #expect(try await version(device) == 2)
      #expect(try await assign(hub, device, "null") == 200)
      #expect(try await version(device) == 2)
      // A hub that was restored from a backup goes on above what its boxes have.
      #expect(
        try await version(device, seen: RepositoryVersions(root: 1, timestamp: 40, snapshot: 30, targets: 20)) == 41)
      let trusted = try #require(try await hub.director(device.id))
      #expect(trusted.snapshotVersion == 31 && trusted.targetsVersion == 21)
      #expect(try await version(device) == 41)
      let absurd = RepositoryVersions(root: 1, timestamp: .max, snapshot: .max, targets: .max)
      #expect(try await version(device, seen: absurd) == 41)
    }
  }

  private func rollback(_ hub: TestHub, _ device: ScriptedDevice, _ model: String, to version: String) async throws
    -> Int
  {
    let body = Array(#"{"model":"\#(model)","version":"\#(version)"}"#.utf8)
    return try await hub.admin("POST", "/devices/\(device.id)/rollback", body: body).status
  }

  @Test func aRollbackIsSignedAndOnlyToWhatIsPublished() async throws {
    try await fleet { hub, device in
      _ = try await version(device)
      #expect(try await rollback(hub, device, "two", to: "1") == 200)
      #expect(try await hub.directed(device.id) == ["one:1", "two:1!"])
      #expect(try await rollback(hub, device, "two", to: "0") == 404)
      #expect(try await rollback(hub, device, "../two", to: "1") == 400)
      #expect(try await rollback(hub, device, "two", to: "2") == 200)
      #expect(try await hub.directed(device.id) == ["one:1", "two:2!"])
      #expect(try await assign(hub, device, "null") == 200)
      #expect(try await hub.directed(device.id) == ["one:1", "two:2"])
    }
  }

  @Test func oldVersionsDoNotPileUp() async throws {
    try await fleet { hub, device in
      for number in 0..<10 {
        #expect(try await assign(hub, device, number % 2 == 0 ? "[]" : "null") == 200)
        _ = try await version(device)
      }
      let names = try DurableFile.names(in: "\(hub.directory)/repo/director/\(device.id)")
      #expect(names.count == 7, "\(names)")
      #expect(try await hub.directed(device.id) == ["one:1", "two:2"])
    }
  }

  @Test func strangersAndRevokedBoxesGetNothing() async throws {
    try await fleet { hub, device in
      let stranger = DeviceID(key: SigningKey.generate().verifyingKey)
      #expect(try await hub.send("GET", "/repo/director/\(stranger)/timestamp.json").status == 404)
      #expect(!DurableFile.exists("\(hub.directory)/repo/director/\(stranger)"))
      for path in [
        "x/timestamp.json", "\(device.id)/..%2f..%2fhub.sqlite", "\(device.id)/staged", "staged/1.root.json",
      ] {
        #expect(try await hub.send("GET", "/repo/director/\(path)").status == 404, "\(path)")
      }
      #expect(try await hub.send("GET", "/repo/director/\(device.id)/timestamp.json").status == 200)
      _ = try await hub.admin("DELETE", "/devices/\(device.id)")
      #expect(try await hub.send("GET", "/repo/director/\(device.id)/timestamp.json").status == 404)
    }
  }

  @Test func theTimestampIsSignedAfreshInTime() async throws {
    try await TestHub.with { hub in
      try await hub.putDirector(1, hub.directorRoot())
      try await hub.publish(2, [hub.model("one", "1")])
      let device = try await ScriptedDevice.enrolled(hub)
      let state = try HubState(directory: hub.directory)
      defer { state.store.close() }
      let director = Director(
        directory: state.repositoryDirectory + "/director", store: state.store,
        repository: Repository(
          files: RepositoryFiles(directory: state.repositoryDirectory), onlineKey: state.onlineKey),
        onlineKey: state.onlineKey)
      func after(_ days: Double) async throws -> RepositoryVersions {
        try await director.statement(for: device.id, words: nil, now: Date().addingTimeInterval(days * 86400))
      }
      #expect(try await after(0) == RepositoryVersions(root: 1, timestamp: 1, snapshot: 1, targets: 1))
      #expect(try await after(3).timestamp == 1)
      #expect(try await after(4) == RepositoryVersions(root: 1, timestamp: 2, snapshot: 1, targets: 1))
      #expect(try await after(50) == RepositoryVersions(root: 1, timestamp: 3, snapshot: 2, targets: 2))
      // Under an expired root nothing is signed, and what there was is still served.
      #expect(try await after(400).timestamp == 3)
    }
  }

  @Test func aRootThatIsNotThePublishersIsRefused() async throws {
    try await TestHub.with { hub in
      let stranger = SigningKey.generate()
      let wrong: [(String, [UInt8])] = [
        ("signed by a stranger", try hub.directorRoot(root: stranger, signers: [stranger])),
        ("another hub's key", try hub.directorRoot(online: stranger)),
        ("not bound", try hub.directorRoot(binding: .image)),
        ("the image root", try hub.rootFile()),
      ]
      for (what, bytes) in wrong {
        try await hub.putDirector(1, bytes)
        #expect(try await hub.commit().status == 422, "\(what)")
        #expect(!DurableFile.exists(hub.directory + "/repo/director/1.root.json"), "\(what)")
      }
      try await hub.putDirector(1, hub.directorRoot())
      #expect(try await hub.commit().status == 200)
      // A root of the same version with other content, and one that the first does not vouch for.
      try await hub.putDirector(1, hub.directorRoot(root: stranger, signers: [hub.root, stranger]))
      #expect(try await hub.commit().status == 409)
      try await hub.putDirector(2, hub.directorRoot(version: 2, root: stranger, signers: [stranger]))
      #expect(try await hub.commit().status == 422)
      try await hub.putDirector(2, hub.directorRoot(version: 2))
      #expect(try await hub.commit().status == 200)
      let status = try await hub.admin("GET", "/status").json
      #expect(status["directorRoot"] == 2)
    }
  }

  @Test func withoutARootThereIsNoDirector() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      #expect(try await version(device) == 0)
      #expect(try await hub.send("GET", "/repo/director/\(device.id)/timestamp.json").status == 404)
      try await hub.putDirector(1, hub.directorRoot())
      #expect(try await hub.commit().status == 200)
      #expect(try await version(device) == 1)
    }
  }

  /// Whoever can write the repository's folder, and even sign for it, does not thereby speak for the director.
  @Test func whatDidNotComeThroughAPublicationIsNotDirected() async throws {
    try await fleet { hub, device in
      let evil = try await hub.model("one", "9", seed: 9)
      let online = try SigningKey(pem: try #require(try DurableFile.read(hub.directory + "/keys/online.key")))
      let metadata = hub.directory + "/repo/metadata/"
      let targets = try hub.targetsFile(version: 3, [evil])
      let snapshot = try TUFWriter.snapshot(
        version: 9, expires: TestHub.inAYear,
        files: ["targets.json": TUFFileMeta(of: TUFDocument(parsing: targets, as: .targets))]
      ).signed(by: [online])
      let timestamp = try TUFWriter.timestamp(
        version: 9, expires: TestHub.inAYear, snapshot: TUFFileMeta(of: TUFDocument(parsing: snapshot, as: .snapshot))
      ).signed(by: [online])
      try DurableFile.replace(metadata + "3.targets.json", with: targets)
      try DurableFile.replace(metadata + "9.snapshot.json", with: snapshot)
      try DurableFile.replace(metadata + "timestamp.json", with: timestamp)
      #expect(try await hub.update(TUFLocalState(root: hub.rootFile())).targets == [evil])
      #expect(try await hub.directed(device.id) == ["one:1", "two:2"])
      let state = try HubState(directory: hub.directory)
      defer { state.store.close() }
      let restarted = Director(
        directory: state.repositoryDirectory + "/director", store: state.store,
        repository: Repository(
          files: RepositoryFiles(directory: state.repositoryDirectory), onlineKey: state.onlineKey),
        onlineKey: state.onlineKey)
      try await restarted.recover()
      #expect(try await restarted.directed().map(\.path).contains(evil.path) == false)
    }
  }
}
