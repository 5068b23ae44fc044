import FoundationEssentials
import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// What a kill leaves is what lies on the disk at that moment: copies of the folder, taken in the middle of everything,
/// are opened as the next run would.
@Suite struct RegistryKillTests {
  /// Copies the registry's folder when told to.
  private final class Camera: Sendable {
    let folder: String
    let album: Scratch
    let taken = Mutex<[String]>([])

    init(_ folder: String) throws {
      self.folder = folder
      album = try Scratch()
    }

    func take(_ moment: String) {
      taken.withLock { taken in
        let copy = "\(album.path)/\(taken.count)"
        if (try? FileManager.default.copyItem(atPath: folder, toPath: copy)) != nil { taken.append(moment) }
      }
    }
  }

  /// A source that has its picture taken before each chunk.
  private struct Posing: ModelSource {
    let source: Publisher
    let camera: Camera

    func index(_ digest: Digest, limit: Int) async throws -> [UInt8] {
      camera.take("before the index")
      return try await source.index(digest, limit: limit)
    }

    func chunk(_ id: Digest, limit: Int) async throws -> [UInt8] {
      camera.take("before a chunk")
      return try await source.chunk(id, limit: limit)
    }
  }

  @Test func aKillAtAnyPointLeavesTheOldModelOrTheNew() async throws {
    let publisher = Publisher()
    let old = ggufFile(seed: 1)
    let new = ggufFile(seed: 2)
    let first = try publisher.publish(old, name: "tiny", version: "1")
    let box = try RegistryBox()
    let registry = try await box.open()
    _ = try await registry.reconcile(trusted: try await publisher.trusted(), desired: nil, source: publisher)
    let second = try publisher.publish(new, name: "tiny", version: "2")
    publisher.withdraw(first)
    let trusted = try await publisher.trusted()

    let camera = try Camera(box.scratch.path)
    let records = box.records
    let watched = try await ModelRegistry.open(
      database: registry.database, directory: box.scratch.path + "/registry",
      audit: { kind, actor, fields in
        camera.take("before the record \(fields["event"]?.string ?? "")")
        try await records.writer(kind, actor, fields)
        camera.take("after the record \(fields["event"]?.string ?? "")")
      }, now: { 1_800_000_000 })
    _ = try await watched.reconcile(
      trusted: trusted, desired: nil, source: Posing(source: publisher, camera: camera),
      progress: { if $0.phase != .download, $0.phase != .check || $0.done == $0.total { camera.take("\($0.phase)") } })

    let moments = camera.taken.withLock { $0 }
    #expect(moments.count > 12)
    for (number, moment) in moments.enumerated() {
      let folder = "\(camera.album.path)/\(number)"
      let database = try Database(path: folder + "/agent.sqlite", migrations: AgentDatabase.migrations)
      let next = try await ModelRegistry.open(
        database: database, directory: folder + "/registry", audit: { _, _, _ in }, now: { 1_800_000_000 })
      // Offline it serves one of the two, whole.
      let path = try await next.verifiedPath("tiny")
      let serving = try DurableFile.read(path)
      #expect(serving == old || serving == new, "\(moment)")
      // Online it comes to the new one alone.
      let result = try await next.reconcile(trusted: trusted, desired: nil, source: publisher)
      #expect(result.failures.isEmpty, "\(moment)")
      #expect(await next.installed().map(\.manifest) == [second], "\(moment)")
      #expect(try DurableFile.read(try await next.verifiedPath("tiny")) == new, "\(moment)")
      // The one before stays for a rollback.
      #expect(
        try DurableFile.names(in: folder + "/registry/blobs/sha256") == [first.sha256.hex, second.sha256.hex].sorted(),
        "\(moment)")
      #expect(try DurableFile.names(in: folder + "/registry/partial").isEmpty, "\(moment)")
      database.close()
    }
  }
}
