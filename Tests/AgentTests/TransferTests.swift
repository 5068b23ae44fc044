import Fleet
import FoundationEssentials
import Models
import Storage
import Synchronization
import Testing
import Trust
import Web

@testable import Agent

/// A publisher's chunks and whole files, with a tally of what is under way and what was sent, and a line that breaks.
private final class Line: ModelSource {
  struct Broken: Error {}
  struct State: Sendable {
    var underway = 0
    var most = 0
    var sent: [Digest: Int] = [:]
    /// Bytes of whole files that went over the line.
    var fileBytes = 0
    /// Answers until the line breaks.
    var left = Int.max
  }
  let publisher: Publisher
  let files: [Digest: [UInt8]]
  let lengths: [Digest: Int]
  let state = Mutex(State())

  init(_ publisher: Publisher, index: ChunkIndex? = nil, files: [[UInt8]] = []) {
    self.publisher = publisher
    self.files = Dictionary(uniqueKeysWithValues: files.map { (Digest(of: $0), $0) })
    lengths = Dictionary((index?.chunks ?? ChunkIndex(chunks: []).chunks).map { ($0.id, $0.length) }) { one, _ in one }
  }

  func breakAfter(_ answers: Int) { state.withLock { $0.left = answers } }

  private func step() throws {
    try state.withLock { state in
      guard state.left > 0 else { throw Broken() }
      state.left -= 1
    }
  }

  func index(_ digest: Digest, limit: Int) async throws -> [UInt8] { try await publisher.index(digest, limit: limit) }

  func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] {
    let length = lengths[id] ?? 0
    state.withLock { state in
      state.underway += length
      state.most = max(state.most, state.underway)
    }
    defer { state.withLock { $0.underway -= length } }
    try await Task.sleep(for: .milliseconds(2))
    // On the line before it breaks: what was sent and never arrived counts as sent.
    state.withLock { $0.sent[id, default: 0] += 1 }
    try step()
    return try await publisher.chunk(id, limit: limit)
  }

  func file(
    of manifest: ModelManifest, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    guard let bytes = files[manifest.sha256] else { throw RegistryError.notServed(manifest.filePath) }
    for start in stride(from: Int(offset), to: bytes.count, by: 100_000) {
      try step()
      let piece = Array(bytes[start..<min(start + 100_000, bytes.count)])
      state.withLock { $0.fileBytes += piece.count }
      try await take(piece)
    }
  }
}

@Suite struct ChunkFetchTests {
  @Test func noMoreThanOneLongestChunkIsEverUnderWay() async throws {
    let publisher = Publisher()
    let box = try RegistryBox()
    let manifest = try publisher.publish(ggufFile(seed: 9, weights: 4_000_000), name: "tiny")
    let index = try ChunkIndex(caibx: await publisher.index(try #require(manifest.index).sha256, limit: 1 << 20))
    let line = Line(publisher, index: index)
    let result = try await box.open().reconcile(
      trusted: try await publisher.trusted(), desired: nil, source: line)
    #expect(result.activated == ["tiny:1"])
    let most = line.state.withLock(\.most)
    #expect(most <= 256 << 10, "\(most) bytes were under way")
    #expect(most > 128 << 10, "several requests at a time")
  }

  @Test func aBrokenLineCostsAtMostOneLongestChunkEachTime() async throws {
    let publisher = Publisher()
    let box = try RegistryBox()
    let manifest = try publisher.publish(ggufFile(seed: 10, weights: 6_000_000), name: "tiny")
    let index = try ChunkIndex(caibx: await publisher.index(try #require(manifest.index).sha256, limit: 1 << 20))
    let line = Line(publisher, index: index)
    let trusted = try await publisher.trusted()
    var interruptions = 0
    for answers in [0, 1, 2, 3, 5, 8, 13, 21] {
      line.breakAfter(answers)
      do {
        _ = try await box.open().reconcile(trusted: trusted, desired: nil, source: line)
        break
      } catch is Line.Broken { interruptions += 1 }
    }
    line.breakAfter(.max)
    #expect(try await box.open().reconcile(trusted: trusted, desired: nil, source: line).activated == ["tiny:1"])
    #expect(interruptions == 8)
    let twice = line.state.withLock { state in
      state.sent.reduce(0) { $0 + ($1.value - 1) * (line.lengths[$1.key] ?? 0) }
    }
    #expect(twice <= interruptions * 256 << 10, "\(twice) bytes were fetched twice in \(interruptions) interruptions")
  }
}

@Suite struct WholeFileTests {
  private func published(_ bytes: [UInt8]) throws -> (Publisher, ModelManifest, Line) {
    let publisher = Publisher()
    let manifest = try publisher.publish(bytes, name: "whole") { $0.index = nil }
    return (publisher, manifest, Line(publisher, files: [bytes]))
  }

  @Test func aModelWithoutChunksComesInAndGoesOnWhereItStopped() async throws {
    let bytes = ggufFile(seed: 11, weights: 2_000_000)
    let (publisher, manifest, line) = try published(bytes)
    let box = try RegistryBox()
    let trusted = try await publisher.trusted()
    for answers in [0, 1, 7] {
      line.breakAfter(answers)
      await #expect(throws: Line.Broken.self) {
        try await box.open().reconcile(trusted: trusted, desired: nil, source: line)
      }
      await #expect(throws: RegistryError.self) { try await box.open().verifiedPath("whole") }
    }
    line.breakAfter(.max)
    let registry = try await box.open()
    #expect(try await registry.reconcile(trusted: trusted, desired: nil, source: line).activated == [manifest.label])
    #expect(try DurableFile.read(try await registry.verifiedPath("whole")) == bytes)
    #expect(line.state.withLock(\.fileBytes) == bytes.count, "nothing travels twice")
    #expect(try DurableFile.names(in: box.scratch.path + "/registry/partial").isEmpty)
  }

  @Test func aDamagedBeginningIsFetchedOnceMore() async throws {
    let bytes = ggufFile(seed: 12, weights: 1_000_000)
    let (publisher, manifest, line) = try published(bytes)
    let box = try RegistryBox()
    let trusted = try await publisher.trusted()
    line.breakAfter(4)
    await #expect(throws: Line.Broken.self) {
      try await box.open().reconcile(trusted: trusted, desired: nil, source: line)
    }
    let partial = box.scratch.path + "/registry/partial/" + manifest.sha256.hex
    var kept = try #require(try DurableFile.read(partial))
    kept[1000] ^= 1
    try DurableFile.replace(partial, with: kept)
    line.breakAfter(.max)
    #expect(
      try await box.open().reconcile(trusted: trusted, desired: nil, source: line).activated == [manifest.label])
  }

  @Test func aFalseFileIsRefused() async throws {
    let bytes = ggufFile(seed: 13)
    let publisher = Publisher()
    let manifest = try publisher.publish(bytes, name: "whole") { $0.index = nil }
    let box = try RegistryBox()
    let trusted = try await publisher.trusted()
    struct Liar: ModelSource {
      let bytes: [UInt8]
      func index(_ digest: Digest, limit: Int) async throws -> [UInt8] { [] }
      func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] { [] }
      func file(
        of manifest: ModelManifest, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
      ) async throws {
        if offset < UInt64(bytes.count) { try await take(Array(bytes[Int(offset)...])) }
      }
    }
    var wrong = bytes
    wrong[5_000] ^= 1
    for lie in [wrong, bytes + [0], Array(bytes.dropLast())] {
      let result = try await box.open().reconcile(trusted: trusted, desired: nil, source: Liar(bytes: lie))
      #expect(result.activated.isEmpty)
      #expect(result.failures.map(\.model) == [manifest.label])
    }
    let good = try await box.open().reconcile(trusted: trusted, desired: nil, source: Liar(bytes: bytes))
    #expect(good.activated == [manifest.label])
  }
}

/// Clocks that a test sets.
private final class Clocks: Sendable {
  let state = Mutex(TransferGate.Reading(minute: 720, month: 24_323, running: 1_000))
  var read: @Sendable () -> TransferGate.Reading { { self.state.withLock { $0 } } }
  func set(_ change: (inout TransferGate.Reading) -> Void) { state.withLock { change(&$0) } }
}

@Suite struct TransferGateTests {
  private let clocks = Clocks()

  private func tables(_ scratch: Scratch) throws -> (Database, SyncTables) {
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    return (database, SyncTables(database: database))
  }

  private func held(_ gate: TransferGate, _ bytes: Int = 1_000) async throws -> TransferHold? {
    do {
      try await gate.admit(bytes)
      return nil
    } catch let hold as TransferHold { return hold }
  }

  @Test func quietHoursHoldModelsAndAreOverridden() async throws {
    let scratch = try Scratch()
    let (database, tables) = try tables(scratch)
    defer { database.close() }
    let night = try #require(QuietHours.Window("22:00-06:00").flatMap { QuietHours([$0]) })
    let gate = try await TransferGate(rules: TransferRules(quiet: night), tables: tables, read: clocks.read)
    #expect(try await held(gate) == nil)
    clocks.set { $0.minute = 23 * 60 }
    #expect(try await held(gate) == .quietHours(until: 360))
    #expect(gate.status().quietUntil == "06:00")
    gate.override(true)
    #expect(try await held(gate) == nil)
    gate.override(false)
    // A clock that stands still: after a day of the box's running time models travel, also through restarts.
    clocks.set { $0.running += 50_000 }
    #expect(try await held(gate) != nil)
    let next = try await TransferGate(rules: TransferRules(quiet: night), tables: tables, read: clocks.read)
    clocks.set { $0.running += 40_000 }
    #expect(try await held(next) == nil)
    clocks.set { $0.minute = 720 }
    #expect(try await held(next) == nil)
    clocks.set { $0.minute = 30 }
    #expect(try await held(next) != nil)
  }

  @Test func theMonthsAccountSurvivesAKillAndIsNeverTooLow() async throws {
    let scratch = try Scratch()
    let (database, tables) = try tables(scratch)
    defer { database.close() }
    let rules = TransferRules(bytesPerMonth: 50 << 20)
    let gate = try await TransferGate(rules: rules, tables: tables, read: clocks.read)
    for _ in 0..<20 {
      try await gate.admit(1 << 20)
      #expect(gate.pace.take(1 << 20) == nil)
    }
    #expect(gate.status().usedBytes == 20 << 20)
    // As after a kill.
    let killed = try await TransferGate(rules: rules, tables: tables, read: clocks.read)
    #expect((20 << 20...26 << 20).contains(killed.status().usedBytes))
    // And after an orderly end.
    await gate.settle()
    let ended = try await TransferGate(rules: rules, tables: tables, read: clocks.read)
    #expect(ended.status().usedBytes == 20 << 20)
    // Used up: models wait, and what is small still counts.
    #expect(try await held(ended, 31 << 20) == .budget(month: "2026-12", used: 20 << 20, budget: 50 << 20))
    ended.count(30 << 20)
    #expect(try await held(ended, 1) != nil)
    #expect(ended.status().waits != nil)
    clocks.set { $0.month += 1 }
    #expect(try await held(ended, 31 << 20) == nil)
    #expect(ended.status().usedBytes == 0)
  }

  @Test func aLimitHoldsOverSeveralConnections() async throws {
    let scratch = try Scratch()
    let (database, tables) = try tables(scratch)
    defer { database.close() }
    let rate = 2_000_000
    let gate = try await TransferGate(rules: TransferRules(bytesPerSecond: rate), tables: tables, read: clocks.read)
    let body = [UInt8](repeating: 7, count: 100_000)
    let server = HTTPServer(HTTPServer.Configuration(listeners: [.tcp(host: "127.0.0.1", port: 0)])) { _ in
      HTTPResponse(status: 200, body: .bytes(body))
    }
    try server.start()
    let client = HTTPClient()
    let url = "http://127.0.0.1:\(server.boundPorts[0])/"
    // Never faster. Slower only by what a busy machine adds, so the best of three tells.
    var best = 0.0
    for _ in 0..<3 where best < 0.95 {
      let started = ContinuousClock.now
      let total = try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<4 {
          group.addTask {
            var bytes = 0
            for _ in 0..<20 {
              var request = ClientRequest(url: url)
              request.pace = gate.pace
              bytes += try await client.send(request).body.count
            }
            return bytes
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(total == 8_000_000)
      let share = Double(total) / ((ContinuousClock.now - started) / .seconds(1)) / Double(rate)
      #expect(share < 1.05, "\(share) of the limit")
      best = max(best, share)
    }
    #expect(best > 0.95, "\(best) of the limit")
    await client.close()
    await server.stop(drain: .zero)
  }
}

@Suite struct QuietSyncTests {
  @Test func inQuietHoursAllButModelsTravelsAndAnUrgentSyncBringsThem() async throws {
    let hub = try FakeHub()
    try hub.start()
    try hub.publisher.publish(ggufFile(seed: 20), name: "tiny")
    try hub.release()
    let clocks = Clocks()
    clocks.set { $0.minute = 60 }
    let night = try #require(QuietHours.Window("22:00-06:00").flatMap { QuietHours([$0]) })
    let box = try await SyncBox(
      transfer: TransferRules(quiet: night, bytesPerMonth: 100 << 20), transferReading: clocks.read)
    try await box.service.enroll(token: try hub.token())
    let quiet = try await box.service.syncNow()
    #expect(quiet.waiting?.contains("06:00") == true)
    #expect(quiet.activated.isEmpty && quiet.failures.isEmpty)
    #expect(quiet.metadataVersion == 1, "metadata is small and signed")
    #expect(!hub.state.withLock { $0.paths.contains { $0.hasPrefix("/repo/indexes") || $0.hasPrefix("/repo/chunks") } })
    #expect(try await box.service.status().lastError == nil)
    #expect(try await box.service.status().transfer.quietUntil == "06:00")

    let urgent = try await box.service.syncNow(isUrgent: true)
    #expect(urgent.activated == ["tiny:1"])
    #expect(urgent.waiting == nil)
    #expect(try await box.service.status().transfer.usedBytes > 500_000)

    // The override was for that sync alone.
    try hub.publisher.publish(ggufFile(seed: 21), name: "next")
    try hub.release()
    #expect(try await box.service.syncNow().waiting != nil)
    clocks.set { $0.minute = 361 }
    #expect(try await box.service.syncNow().activated == ["next:1"])
    await box.close()
    await hub.stop()
  }
}
