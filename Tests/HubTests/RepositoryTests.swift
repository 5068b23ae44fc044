import Fleet
import FoundationEssentials
import Hub
import Models
import Storage
import Testing
import Trust
import Web

@Suite struct RepositoryTests {
  /// A small file as chunks, its index, and the target that names it.
  private struct Content {
    let chunks: [(id: Digest, compressed: [UInt8])]
    let index: [UInt8]
    let target: TUFTarget
    var indexDigest: Digest { Digest(of: index) }

    init(name: String = "tiny") throws {
      let pieces = (0..<3).map { [UInt8](repeating: UInt8($0), count: 16384) }
      chunks = try pieces.map { (Digest(of: $0), try Zstd.compress($0)) }
      index = ChunkIndex(chunks: pieces.map { (length: $0.count, id: Digest(of: $0)) }).caibx
      let whole = pieces.flatMap { $0 }
      target = TUFTarget(
        path: "models/\(name)/1/\(name).gguf", length: UInt64(whole.count), sha256: Digest(of: whole),
        custom: ["skerry": ["kind": "model", "index": ["sha256": .string(Digest(of: index).hex)]]])
    }
  }

  private func upload(_ hub: TestHub, _ content: Content) async throws {
    for chunk in content.chunks {
      #expect(try await hub.admin("PUT", "/repo/chunks/\(chunk.id)", body: chunk.compressed).status == 204)
    }
    let path = "/repo/indexes/\(content.indexDigest)"
    #expect(try await hub.admin("PUT", path, body: content.index).status == 204)
  }

  @Test func aPublicationReachesABox() async throws {
    try await TestHub.with { hub in
      let content = try Content()
      let ids = JSONValue.object(["chunks": .array(content.chunks.map { .string($0.id.hex) })]).encoded()
      #expect(try await hub.admin("POST", "/repo/missing", body: ids).json["missing"]?.array?.count == 3)
      try await upload(hub, content)
      #expect(try await hub.admin("POST", "/repo/missing", body: ids).json["missing"] == [])
      try await hub.put("2.targets.json", hub.targetsFile(version: 2, [content.target]))
      let answer = try await hub.commit()
      #expect(answer.status == 200, "\(answer.text)")
      #expect(try answer.json.decoded(as: RepositoryVersions.self).targets == 2)

      let trusted = try await hub.update(TUFLocalState(root: hub.rootFile()))
      #expect(trusted.targets == [content.target])
      let index = try await hub.send("GET", "/repo/indexes/\(content.indexDigest).caibx")
      #expect(index.body == content.index)
      for chunk in content.chunks {
        let got = try await hub.send("GET", "/repo/chunks/\(chunk.id.hex.prefix(4))/\(chunk.id).cacnk")
        #expect(got.body == chunk.compressed)
      }
    }
  }

  @Test func aRepeatedCommitChangesNothing() async throws {
    try await TestHub.with { hub in
      let before = try await hub.send("GET", "/repo/metadata/timestamp.json").body
      #expect(try await hub.commit().status == 200)
      #expect(try await hub.send("GET", "/repo/metadata/timestamp.json").body == before)
    }
  }

  @Test func targetsThatTheRootDoesNotVouchForAreRefused() async throws {
    try await TestHub.with { hub in
      let before = try await hub.send("GET", "/repo/metadata/timestamp.json").body
      let bad: [(String, [UInt8])] = [
        ("2.targets.json", try hub.targetsFile(version: 2, signer: .generate())),
        ("2.targets.json", try hub.targetsFile(version: 3)),
        ("2.targets.json", try hub.targetsFile(version: 2, expires: Date().addingTimeInterval(-60))),
        ("2.targets.json", Array("garbage".utf8)),
        ("2.root.json", try hub.rootFile(version: 2, signers: [.generate()])),
        ("2.root.json", try hub.rootFile(version: 3)),
      ]
      for (name, bytes) in bad {
        try await hub.put(name, bytes)
        let answer = try await hub.commit()
        #expect(answer.status == 422, "\(name): \(answer.text)")
        #expect(answer.code == "invalid_metadata")
        #expect(try await hub.send("GET", "/repo/metadata/timestamp.json").body == before)
        #expect(try await hub.send("GET", "/repo/metadata/\(name)").status == 404)
        _ = try await hub.update(TUFLocalState(root: hub.rootFile()))
        try await hub.put("2.targets.json", hub.targetsFile(version: 2))
        if name == "2.targets.json" { continue }
        try await hub.put("2.root.json", hub.rootFile(version: 2))
      }
      #expect(try await hub.commit().status == 200)
      #expect(try await hub.update(TUFLocalState(root: hub.rootFile())).rootVersion == 2)
    }
  }

  @Test func aLowerVersionIsRefused() async throws {
    try await TestHub.with { hub in
      try await hub.put("5.targets.json", hub.targetsFile(version: 5))
      #expect(try await hub.commit().status == 200)
      try await hub.put("4.targets.json", hub.targetsFile(version: 4))
      let answer = try await hub.commit()
      #expect(answer.status == 422)
      #expect(answer.text.contains("rollback"))
      #expect(try await hub.update(TUFLocalState(root: hub.rootFile())).targetsVersion == 5)
    }
  }

  @Test func whatWasStagedByMistakeCanBeDropped() async throws {
    try await TestHub.with { hub in
      try await hub.put("99.targets.json", Array("oops".utf8))
      try await hub.put("2.targets.json", hub.targetsFile(version: 2))
      #expect(try await hub.commit().status == 422)
      #expect(try await hub.admin("DELETE", "/repo/staged").status == 204)
      try await hub.put("2.targets.json", hub.targetsFile(version: 2))
      #expect(try await hub.commit().json["targets"]?.integer == 2)
    }
  }

  @Test func metadataComesAfterItsContent() async throws {
    try await TestHub.with { hub in
      let content = try Content()
      try await hub.put("2.targets.json", hub.targetsFile(version: 2, [content.target]))
      let withoutIndex = try await hub.commit()
      #expect(withoutIndex.status == 409)
      let path = "/repo/indexes/\(content.indexDigest)"
      #expect(try await hub.admin("PUT", path, body: content.index).status == 204)
      let withoutChunks = try await hub.commit()
      #expect(withoutChunks.status == 409)
      #expect(withoutChunks.text.contains("3 of 3 chunks"))
      #expect(try await hub.update(TUFLocalState(root: hub.rootFile())).targetsVersion == 1)
      try await upload(hub, content)
      #expect(try await hub.commit().status == 200)
    }
  }

  @Test func aChunkThatAPowerCutSpoiltIsAskedForAgain() async throws {
    try await TestHub.with { hub in
      let content = try Content()
      try await upload(hub, content)
      let victim = content.chunks[1].id
      let path = "\(hub.directory)/repo/chunks/\(victim.hex.prefix(4))/\(victim.hex).cacnk"
      try DurableFile.replace(path, with: Array(content.chunks[1].compressed.dropLast(3)))
      try await hub.put("2.targets.json", hub.targetsFile(version: 2, [content.target]))
      #expect(try await hub.commit().status == 409)
      let ids = JSONValue.object(["chunks": .array(content.chunks.map { .string($0.id.hex) })]).encoded()
      #expect(try await hub.admin("POST", "/repo/missing", body: ids).json["missing"] == [.string(victim.hex)])
      try await upload(hub, content)
      #expect(try await hub.commit().status == 200)
    }
  }

  @Test func bytesThatAreNotWhatTheirNameSaysAreRefused() async throws {
    try await TestHub.with { hub in
      let content = try Content()
      let other = content.chunks[0].id
      #expect(try await hub.admin("PUT", "/repo/chunks/\(other)", body: content.chunks[1].compressed).status == 400)
      #expect(try await hub.admin("PUT", "/repo/chunks/\(other)", body: [1, 2, 3]).status == 400)
      #expect(try await hub.admin("PUT", "/repo/chunks/..%2F..%2Fx", body: [1]).status == 400)
      #expect(try await hub.admin("PUT", "/repo/indexes/\(other)", body: content.index).status == 400)
      let garbage = [UInt8](repeating: 7, count: 200)
      #expect(try await hub.admin("PUT", "/repo/indexes/\(Digest(of: garbage))", body: garbage).status == 400)
      for name in [
        "0.root.json", "01.root.json", "root.json", "1.e%20vil.json", "1.timestamp.json", "..%2F1.root.json", "commit",
      ] {
        #expect(try await hub.admin("PUT", "/repo/metadata/\(name)", body: [1]).status == 400, "\(name)")
      }
      let large = [UInt8](repeating: 0x20, count: 20_000)
      #expect(try await hub.admin("PUT", "/repo/metadata/timestamp.json", body: large).status == 413)
    }
  }

  @Test func rootKeysRotate() async throws {
    try await TestHub.with { hub in
      let newRoot = SigningKey.generate()
      let newTargets = SigningKey.generate()
      try await hub.put(
        "2.root.json",
        hub.rootFile(version: 2, targets: newTargets, root: newRoot, signers: [hub.root, newRoot]))
      // The old targets are signed with a key that counts no more.
      let early = try await hub.commit()
      #expect(early.status == 422)
      try await hub.put("2.targets.json", hub.targetsFile(version: 2, signer: newTargets))
      #expect(try await hub.commit().status == 200)
      let trusted = try await hub.update(TUFLocalState(root: hub.rootFile()))
      #expect(trusted.rootVersion == 2)
      #expect(trusted.targetsVersion == 2)
    }
  }

  @Test func aRootWithoutTheOnlineKeyNeedsThePublishersOwnSnapshot() async throws {
    try await TestHub.with(published: false) { hub in
      let targets = try hub.targetsFile(version: 1)
      try await hub.put("1.root.json", hub.rootFile(online: false))
      try await hub.put("1.targets.json", targets)
      #expect(try await hub.commit().status == 409)
      let snapshot = try TUFWriter.snapshot(
        version: 1, expires: TestHub.inAYear,
        files: ["targets.json": TUFFileMeta(of: TUFDocument(parsing: targets, as: .targets))]
      ).signed(by: [hub.targets])
      let meta = TUFFileMeta(of: try TUFDocument(parsing: snapshot, as: .snapshot))
      func timestamp(_ key: SigningKey) throws -> [UInt8] {
        try TUFWriter.timestamp(version: 1, expires: TestHub.inAYear, snapshot: meta).signed(by: [key])
      }
      try await hub.put("1.snapshot.json", snapshot)
      try await hub.put("timestamp.json", timestamp(.generate()))
      #expect(try await hub.commit().status == 422)
      try await hub.put("timestamp.json", timestamp(hub.targets))
      #expect(try await hub.commit().status == 200)
      #expect(try await hub.update(TUFLocalState(root: hub.rootFile(online: false))).targetsVersion == 1)
    }
  }

  @Test func theTimestampIsSignedAfreshInTime() async throws {
    try await TestHub.with { hub in
      let state = try HubState(directory: hub.directory)
      defer { state.store.close() }
      let repository = Repository(
        files: RepositoryFiles(directory: state.repositoryDirectory), onlineKey: state.onlineKey)
      #expect(try await repository.refresh(now: Date()) == false)
      let local = TUFLocalState(root: try hub.rootFile())
      let inSixDays = Date().addingTimeInterval(6 * 86400)
      #expect(try await repository.refresh(now: inSixDays))
      let later = try await hub.update(local, now: inSixDays)
      #expect(later.timestampVersion == 2)
      #expect(later.snapshotVersion == 1)
      // Even after the hub was off for so long that everything it signs has expired.
      let inHalfAYear = Date().addingTimeInterval(180 * 86400)
      await #expect(throws: TUFError.self) { try await hub.update(local, now: inHalfAYear) }
      #expect(try await repository.refresh(now: inHalfAYear))
      #expect(try await hub.update(local, now: inHalfAYear).snapshotVersion == 2)
    }
  }

  @Test func anInterruptedCommitIsFinishedAtStart() async throws {
    try await TestHub.with { hub in
      let files = RepositoryFiles(directory: hub.directory + "/repo")
      try files.stage("2.targets.json", hub.targetsFile(version: 2))
      try files.stage("commit", [])
      let state = try HubState(directory: hub.directory)
      defer { state.store.close() }
      try await Repository(files: files, onlineKey: state.onlineKey).recover(now: Date())
      #expect(try await hub.update(TUFLocalState(root: hub.rootFile())).targetsVersion == 2)
      #expect(try files.stagedNames() == [])
    }
  }

  @Test func aTargetMayBeAWholeFile() async throws {
    try await TestHub.with { hub in
      let bytes = Array("a small file".utf8)
      let target = TUFTarget(path: "notes/about.txt", length: UInt64(bytes.count), sha256: Digest(of: bytes))
      try await hub.put("2.targets.json", hub.targetsFile(version: 2, [target]))
      #expect(try await hub.commit().status == 409)
      let folder = hub.directory + "/repo/targets/notes"
      try DurableFile.makeDirectory(folder)
      try DurableFile.replace("\(folder)/\(target.hashes.fileNamePrefix).about.txt", with: bytes)
      #expect(try await hub.commit().status == 200)
      #expect(try await hub.send("GET", "/repo/targets/notes/\(target.hashes.fileNamePrefix).about.txt").body == bytes)
      for path in ["..%2F..%2Fhub.json5", "notes", "notes/", "../../hub.json5", "notes/..%2f..%2f..%2fhub.json5"] {
        let answer = try await hub.send("GET", "/repo/targets/\(path)")
        #expect(answer.status == 404 || answer.status == 400, "\(path): \(answer.status)")
      }
    }
  }

  @Test func rangesAreServed() async throws {
    try await TestHub.with { hub in
      let whole = try await hub.send("GET", "/repo/metadata/1.root.json").body
      let part = try await hub.send("GET", "/repo/metadata/1.root.json", headers: ["Range": "bytes=10-19"])
      #expect(part.status == 206)
      #expect(part.body == Array(whole[10..<20]))
      #expect(part.headers["content-range"] == "bytes 10-19/\(whole.count)")
      let tail = try await hub.send("GET", "/repo/metadata/1.root.json", headers: ["Range": "bytes=-5"])
      #expect(tail.body == Array(whole.suffix(5)))
      let beyond = try await hub.send("GET", "/repo/metadata/1.root.json", headers: ["Range": "bytes=\(whole.count)-"])
      #expect(beyond.status == 416)
      for odd in ["bytes=5-2", "bytes=a-b", "bytes=0-1,4-5", "lines=1-2"] {
        let answer = try await hub.send("GET", "/repo/metadata/1.root.json", headers: ["Range": odd])
        #expect(answer.status == 200, "\(odd)")
      }
      for path in ["..%2F..%2Fhub.json5", "1.root.json%00", "2.root.json", "x"] {
        let status = try await hub.send("GET", "/repo/metadata/\(path)").status
        #expect(status == 404 || status == 400, "\(path): \(status)")
      }
    }
  }
}
