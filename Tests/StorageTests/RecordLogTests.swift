import Glibc
import Storage
import Synchronization
import Testing

@Suite struct RecordLogTests {
  let scratch = Scratch()
  var path: String { scratch.file("log") }

  private func texts(_ log: RecordLog, from index: UInt64 = 0, limit: Int = .max) throws -> [String] {
    try log.read(from: index, limit: limit).map { String(decoding: $0.record, as: UTF8.self) }
  }

  @Test func recordsComeBackInOrder() async throws {
    let log = try RecordLog(path: path)
    for number in 0..<5 {
      let index = try await log.append { index in Array("record \(index)".utf8) }
      #expect(index == UInt64(number))
    }
    #expect(log.syncCount == 5)
    log.close()
    let again = try RecordLog(path: path)
    #expect(again.count == 5)
    #expect(again.tornBytes == 0)
    #expect(try texts(again, from: 3) == ["record 3", "record 4"])
    #expect(try texts(again, from: 5) == [])
    #expect(try texts(again, from: 1, limit: 2) == ["record 1", "record 2"])
    #expect(mode(path) == 0o600)
  }

  @Test func manyWritersShareASync() async throws {
    let log = try RecordLog(path: path)
    let indexes = try await withThrowingTaskGroup(of: UInt64.self) { group in
      for writer in 0..<64 {
        group.addTask {
          try await log.append { index in
            // The first holds the queue until the others stand in line.
            if index == 0 { usleep(200_000) }
            return Array("\(index) by \(writer)".utf8)
          }
        }
      }
      return try await group.reduce(into: Set()) { $0.insert($1) }
    }
    #expect(indexes == Set(0..<64))
    #expect(log.syncCount <= 4)
    #expect(try texts(log).enumerated().allSatisfy { $1.hasPrefix("\($0) by ") })
  }

  @Test func anyPlaceIsFoundAmongThousands() async throws {
    let log = try RecordLog(path: path)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<2000 {
        group.addTask {
          _ = try await log.append { index in Array("\(index)".utf8) + [UInt8](repeating: 0x2E, count: Int(index % 700))
          }
        }
      }
      try await group.waitForAll()
    }
    let again = try RecordLog(path: path)
    for index in [0, 1, 255, 256, 257, 511, 512, 1999] as [UInt64] {
      #expect(try texts(again, from: index, limit: 1).first?.prefix { $0 != "." } == "\(index)")
    }
  }

  @Test func aTornTailIsCutOff() async throws {
    let log = try RecordLog(path: path)
    _ = try await log.append { _ in Array("whole".utf8) }
    log.close()
    overwrite(path, with: Array("half a rec".utf8))
    let again = try RecordLog(path: path)
    #expect(again.count == 1)
    #expect(again.tornBytes == 10)
    _ = try await again.append { _ in Array("next".utf8) }
    #expect(contents(path) == Array("whole\nnext\n".utf8))
  }

  @Test func aTailOfZerosIsCutOff() async throws {
    let log = try RecordLog(path: path)
    _ = try await log.append { _ in Array("whole".utf8) }
    log.close()
    overwrite(path, with: [UInt8](repeating: 0, count: 5000) + Array("x\nmore\n".utf8))
    let again = try RecordLog(path: path)
    #expect(again.count == 1)
    #expect(contents(path) == Array("whole\n".utf8))
  }

  @Test func zerosFarFromTheEndAreDamage() async throws {
    overwrite(path, with: Array("a\n\0\n".utf8) + [UInt8](repeating: 0x41, count: 5 << 20) + [0x0A])
    let error = #expect(throws: StorageError.self) { try RecordLog(path: path) }
    #expect(error == .damaged(path: path, reason: "record 1 is not text"))
  }

  @Test func aRecordIsOneLineOrRefused() async throws {
    let log = try RecordLog(path: path)
    await #expect(throws: StorageError.invalidRecord) { try await log.append { _ in [0x41, 0x0A] } }
    await #expect(throws: StorageError.invalidRecord) { try await log.append { _ in [0] } }
    #expect(try await log.append { _ in [] } == 0)
    #expect(log.count == 1)
  }

  @Test func aMakerThatThrowsLeavesNoGap() async throws {
    struct Refused: Error {}
    let log = try RecordLog(path: path)
    await #expect(throws: Refused.self) { try await log.append { _ in throw Refused() } }
    #expect(try await log.append { index in Array("\(index)".utf8) } == 0)
  }

  /// Batches of 512 records and pieces of a megabyte, wherever their ends fall.
  @Test func whatIsReadOnOpeningIsWhatStandsThere() throws {
    for round in 0..<12 {
      var file: [UInt8] = []
      var records: [[UInt8]] = []
      for _ in 0..<Int.random(in: 0...2100) {
        let record = [UInt8](repeating: .random(in: 1...9), count: .random(in: 0...1400))
        records.append(record)
        file += record + [0x0A]
      }
      var whole = records.count
      switch round % 3 {
      case 1: file += [1, 2, 3]
      case 2 where whole > 0:
        // What follows is not more than one batch may be.
        let bad = Int.random(in: max(0, whole - 1500)..<whole)
        let start = records[..<bad].reduce(0) { $0 + $1.count + 1 }
        file.insert(0, at: start + Int.random(in: 0...records[bad].count))
        whole = bad
      default: break
      }
      let path = scratch.file("log\(round)")
      overwrite(path, with: file)
      let found = Mutex<[[UInt8]]>([])
      let shared = Found(found)
      let hooks = RecordLog.Hooks(onOpen: { [whole] batch in
        var these: [[UInt8]] = []
        batch.withEach { these.append(Array($0)) }
        #expect(batch.next.isMultiple(of: RecordBatch.stride) || batch.next == UInt64(whole))
        return { [these] in shared.all.withLock { $0 += these } }
      })
      let log = try RecordLog(path: path, hooks: hooks)
      #expect(log.count == UInt64(whole))
      #expect(shared.all.withLock { $0 } == records.prefix(whole).map { $0 })
      let middle = UInt64(whole / 2)
      #expect(
        try log.read(from: middle, limit: 3).map(\.record)
          == records[..<whole].dropFirst(whole / 2).prefix(3).map { $0 })
    }
  }

  private final class Found: Sendable {
    let all: Mutex<[[UInt8]]>
    init(_ all: consuming sending Mutex<[[UInt8]]>) { self.all = all }
  }

  @Test func theHooksSeeEveryRecordOnceAndAFailureIsTakenBack() async throws {
    struct Full: Error {}
    struct Seen: Sendable {
      var opened: [UInt64] = [], written: [UInt64] = [], rolledBack: [UInt64] = [], committed: [UInt64] = []
    }
    let seen = Mutex(Seen())
    let failing = Atomic<Bool>(false)
    let shared = Shared(seen, failing)
    let hooks = RecordLog.Hooks(
      onOpen: { batch in { shared.seen.withLock { $0.opened += batch.first..<batch.next } } },
      write: { entries in
        if shared.failing.load(ordering: .relaxed) { throw Full() }
        shared.seen.withLock { $0.written += entries.map(\.index) }
      },
      rollback: { index in shared.seen.withLock { $0.rolledBack.append(index) } },
      committed: { count in shared.seen.withLock { $0.committed.append(count) } })
    let log = try RecordLog(path: path, hooks: hooks)
    _ = try await log.append { _ in [0x41] }
    shared.failing.store(true, ordering: .relaxed)
    await #expect(throws: Full.self) { try await log.append { _ in [0x42] } }
    #expect(contents(path) == [0x41, 0x0A])
    #expect(log.count == 1)
    shared.failing.store(false, ordering: .relaxed)
    #expect(try await log.append { _ in [0x43] } == 1)
    log.close()
    _ = try RecordLog(path: path, hooks: hooks)
    shared.seen.withLock { seen in
      #expect(seen.written == [0, 1])
      #expect(seen.rolledBack == [1])
      #expect(seen.opened == [0, 1])
      #expect(seen.committed == [0, 1, 2, 2])
    }
  }

  private final class Shared<T: Sendable>: Sendable {
    let seen: Mutex<T>
    let failing: Atomic<Bool>
    init(_ seen: consuming sending Mutex<T>, _ failing: consuming sending Atomic<Bool>) {
      self.seen = seen
      self.failing = failing
    }
  }

  @Test func closedIsClosed() async throws {
    let log = try RecordLog(path: path)
    log.close()
    await #expect(throws: StorageError.closed(path: path)) { try await log.append { _ in [] } }
  }

  @Test(.enabled(if: SmallDisk.isPossible)) func aFullDiskRefusesAndRecovers() async throws {
    let disk = try SmallDisk(bytes: 262_144)
    let path = disk.file("log")
    let stone = disk.file("stone")
    overwrite(stone, with: sampleBytes(150_000))
    let log = try RecordLog(path: path)
    var durable = 0
    let error = await #expect(throws: StorageError.self) {
      while true {
        _ = try await log.append { index in Array("\(index) ".utf8) + [UInt8](repeating: 0x2E, count: 3000) }
        durable += 1
      }
    }
    #expect(error == .full(path: path))
    #expect(log.count == UInt64(durable))
    #expect(contents(path)?.count(where: { $0 == 0x0A }) == durable)
    #expect(contents(path)?.last == 0x0A)
    await #expect(throws: StorageError.full(path: path)) {
      try await log.append { _ in [UInt8](repeating: 0x2E, count: 100_000) }
    }
    unlink(stone)
    #expect(try await log.append { index in Array("\(index)".utf8) } == UInt64(durable))
    let again = try RecordLog(path: path)
    #expect(again.count == UInt64(durable) + 1)
    #expect(again.tornBytes == 0)
  }

  @Test(arguments: [3, 11, 29]) func aKillLosesNothingThatWasTold(milliseconds: Int) async throws {
    let told = scratch.file("told")
    await #expect(processExitsWith: .signal(SIGKILL)) {
      [path = path as String, told = told as String, milliseconds = milliseconds as Int] in
      let log = try RecordLog(path: path)
      let descriptor = open(told, O_WRONLY | O_CREAT | O_APPEND, 0o600)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<8 {
          group.addTask {
            while true {
              let index = try await log.append { index in
                Array("\(index) ".utf8) + [UInt8](repeating: 0x2E, count: Int(index * 37 % 5000))
              }
              let line = Array("\(index)\n".utf8)
              _ = write(descriptor, line, line.count)
            }
          }
        }
        group.addTask {
          while log.count < 50 { await Task.yield() }
          usleep(UInt32(milliseconds) * 1000)
          kill(getpid(), SIGKILL)
        }
        try await group.waitForAll()
      }
    }
    let lines = String(decoding: try #require(contents(told)), as: UTF8.self).split(separator: "\n")
    let told64 = Set(lines.compactMap { UInt64($0) })
    let log = try RecordLog(path: path)
    #expect(told64.count >= 40)
    let last = try #require(told64.max())
    #expect(log.count > last)
    for entry in try log.read(from: 0, limit: .max) {
      #expect(
        entry.record == Array("\(entry.index) ".utf8) + [UInt8](repeating: 0x2E, count: Int(entry.index * 37 % 5000)))
    }
  }
}
