import Glibc
import Synchronization
import Testing

@testable import Storage

/// What can happen to the file under a log that is open.
@Suite struct RecordLogTroubleTests {
  let scratch = Scratch()
  var path: String { scratch.file("log") }

  final class Seen: Sendable {
    let incidents = Mutex<[RecordLog.Incident]>([])
    let isHanging = Mutex(false)
    var hooks: RecordLog.Hooks {
      RecordLog.Hooks(
        // A disk that hangs: the write does not return.
        write: { _ in while self.isHanging.withLock({ $0 }) { usleep(1000) } },
        incident: { incident in self.incidents.withLock { $0.append(incident) } })
    }
  }

  private func append(_ log: RecordLog, _ text: String = "x") async throws -> UInt64 {
    try await log.append { _ in Array(text.utf8) }
  }

  private func isStalled(_ error: any Error) -> Bool {
    if case .stalled? = error as? StorageError { true } else { false }
  }

  @Test func aDiskThatHangsIsNotWaitedFor() async throws {
    let seen = Seen()
    let log = try RecordLog(
      path: path, settings: RecordLog.Settings(patience: .milliseconds(300)), hooks: seen.hooks)
    #expect(try await append(log) == 0)
    seen.isHanging.withLock { $0 = true }
    let clock = ContinuousClock()
    let began = clock.now
    let refused = await withTaskGroup(of: Bool.self) { group in
      for number in 0..<20 {
        group.addTask {
          // Some come while others are on their way already.
          if number > 10 { try? await Task.sleep(for: .milliseconds(50)) }
          do { _ = try await log.append { _ in Array("\(number)".utf8) } } catch { return isStalled(error) }
          return false
        }
      }
      return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
    }
    #expect(refused == 20)
    // 0.4 s; on a busy machine it may be more, and never as long as the disk hangs.
    #expect(clock.now - began < .seconds(20))
    // Who comes later is told at once, without being queued.
    let error = await #expect(throws: StorageError.self) { try await append(log) }
    #expect(error.map(isStalled) == true)
    seen.isHanging.withLock { $0 = false }
    while (try? await append(log, "after")) == nil { try await Task.sleep(for: .milliseconds(10)) }
    // What was at the disk already came late, and that is told; what waited behind it never came.
    let late = try #require(seen.incidents.withLock { $0 }.first)
    guard case .late(let range) = late else { return #expect(Bool(false), "\(late)") }
    let texts = try log.read(from: 0, limit: .max).map { String(decoding: $0.record, as: UTF8.self) }
    #expect(range.lowerBound == 1 && texts.last == "after" && texts.count == Int(range.upperBound) + 1)
  }

  @Test func aFileThatWasRemovedIsPutBack() async throws {
    let seen = Seen()
    let log = try RecordLog(path: path, hooks: seen.hooks)
    for number in 0..<600 { _ = try await append(log, "record \(number)") }
    try log.prune(before: 300)
    unlink(path)
    #expect(try await append(log, "record 600") == 600)
    #expect(seen.incidents.withLock { $0 } == [.putBack])
    log.close()
    let again = try RecordLog(path: path)
    #expect(again.first == 300 && again.count == 601 && again.tornBytes == 0)
    #expect(
      try again.read(from: 0, limit: .max).allSatisfy { $0.record == Array("record \($0.index)".utf8) })
  }

  @Test func aFileThatWasMovedOrReplacedStopsTheLogUntilItIsBack() async throws {
    let seen = Seen()
    let log = try RecordLog(path: path, hooks: seen.hooks)
    _ = try await append(log, "one")
    rename(path, path + ".elsewhere")
    await #expect(throws: StorageError.displaced(path: path, isReplaced: false)) { try await append(log) }
    overwrite(path, with: Array("a forged log\n".utf8))
    await #expect(throws: StorageError.displaced(path: path, isReplaced: true)) { try await append(log) }
    #expect(contents(path) == Array("a forged log\n".utf8))
    rename(path + ".elsewhere", path)
    #expect(try await append(log, "two") == 1)
    #expect(contents(path) == Array("one\ntwo\n".utf8))
    // Removed and replaced: the other file is left alone; when it has gone, the log is put back.
    unlink(path)
    overwrite(path, with: Array("a forged log\n".utf8))
    await #expect(throws: StorageError.displaced(path: path, isReplaced: true)) { try await append(log) }
    unlink(path)
    #expect(try await append(log, "three") == 2)
    #expect(contents(path) == Array("one\ntwo\nthree\n".utf8))
    #expect(seen.incidents.withLock { $0 } == [.putBack])
  }

  @Test func aFileThatWasCutStopsTheLogAndWhatSomebodyAddedGoes() async throws {
    let log = try RecordLog(path: path)
    _ = try await append(log, "one")
    overwrite(path, with: Array("forged\n".utf8))
    #expect(try await append(log, "two") == 1)
    #expect(contents(path) == Array("one\ntwo\n".utf8))
    truncate(path, 3)
    let error = await #expect(throws: StorageError.self) { try await append(log) }
    guard case .damaged? = error else { return #expect(Bool(false), "\(String(describing: error))") }
    #expect(contents(path) == Array("one".utf8))
  }

  @Test(.enabled(if: SmallDisk.isPossible)) func whatIsUrgentHasRoomOnAFullDisk() async throws {
    let disk = try SmallDisk(bytes: 262_144)
    let log = try RecordLog(
      path: disk.file("log"), settings: RecordLog.Settings(reserve: 65_536))
    let stone = disk.file("stone")
    @Sendable func append(_ urgency: RecordLog.Urgency) async throws -> UInt64 {
      try await log.append(urgency) { _ in [UInt8](repeating: 0x2E, count: 1000) }
    }
    #expect(try await append(.ordinary) == 0)
    let descriptor = open(stone, O_WRONLY | O_CREAT, 0o600)
    let page = [UInt8](repeating: 1, count: 4096)
    while write(descriptor, page, page.count) > 0 {}
    close(descriptor)
    while (try? await append(.ordinary)) != nil {}
    // An ordinary one goes with an urgent one in vain, and does not take its room.
    var urgent = 0
    for _ in 0..<40 {
      let ordinary = Task { try await append(.ordinary) }
      if (try? await append(.urgent)) != nil { urgent += 1 }
      let result = await ordinary.result
      #expect(throws: StorageError.full(path: log.path)) { try result.get() }
    }
    #expect(urgent == 40)
    // It has an end.
    while (try? await append(.urgent)) != nil { urgent += 1 }
    #expect(urgent < 80)
    unlink(stone)
    #expect(try await append(.ordinary) == log.count - 1)
    #expect(contents(disk.file("log.reserve"))?.count == 65_536)
    let again = try RecordLog(path: log.path)
    #expect(again.count == log.count && again.tornBytes == 0)
  }
}
