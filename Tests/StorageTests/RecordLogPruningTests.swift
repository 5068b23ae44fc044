import Glibc
import Testing

@testable import Storage

@Suite struct RecordLogPruningTests {
  let scratch = Scratch()
  var path: String { scratch.file("log") }

  private func filled(_ count: Int, length: Int = 100) async throws -> RecordLog {
    let log = try RecordLog(path: path)
    try await fill(log, count, length)
    return log
  }

  private func fill(_ log: RecordLog, _ count: Int, _ length: Int = 100) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<count {
        group.addTask {
          _ = try await log.append { index in Array("\(index) ".utf8) + [UInt8](repeating: 0x2E, count: length) }
        }
      }
      try await group.waitForAll()
    }
  }

  private func blocks(_ path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_blocks) * 512 : -1
  }

  @Test func whatIsPrunedIsGoneAndTheRestKeepsItsPlaces() async throws {
    let log = try await filled(3000)
    let before = blocks(path)
    for cut in [1, 255, 256, 700, 2048, 2999] as [UInt64] {
      try log.prune(before: cut)
      #expect(log.first == cut && log.count == 3000)
      for index in [cut, cut + 1, 2999] where index < 3000 {
        let record = try #require(try log.read(from: index, limit: 1).first)
        #expect(record.index == index && record.record.starts(with: "\(index) ".utf8))
      }
      #expect(try log.read(from: 0, limit: 1).first?.index == cut)
      let again = try RecordLog(path: path)
      #expect(again.first == cut && again.count == 3000 && again.tornBytes == 0)
      #expect(try again.read(from: 0, limit: .max).map(\.index) == Array(cut..<3000))
    }
    let bytes = try #require(contents(path))
    #expect(!bytes.starts(with: "0 ".utf8) && bytes.prefix(4096).allSatisfy { $0 == 0 })
    #expect(blocks(path) < before / 4)
    try await fill(log, 300)
    #expect(try log.read(from: 3299, limit: 2).map(\.index) == [3299])
    try log.prune(before: 4000)
    #expect(log.first == 2999)
  }

  @Test func aCrashBetweenTheWordAndTheDeedIsMended() async throws {
    let log = try await filled(600)
    let whole = try #require(contents(path))
    try log.prune(before: 512)
    log.close()
    // The records are back as if the room had not been given back yet.
    overwrite(path, with: [])
    let descriptor = open(path, O_WRONLY)
    #expect(pwrite(descriptor, whole, whole.count, 0) == whole.count)
    close(descriptor)
    let again = try RecordLog(path: path)
    #expect(again.first == 512 && again.count == 600)
    #expect(contents(path)?.first == 0)
  }

  @Test func aPlaceThatIsNoneIsDamage() async throws {
    let log = try await filled(10)
    log.close()
    for text in ["", "{}", #"{"first":1,"offset":1000000}"#, #"{"first":-1,"offset":0}"#, #"{ "first":1,"offset":2}"#] {
      try DurableFile.replace(path + ".first", with: Array(text.utf8))
      #expect(throws: StorageError.self) { try RecordLog(path: path) }
    }
  }

  @Test func whoReadsWhileItIsPrunedReadsRecordsOrIsTold() async throws {
    let log = try await filled(4000, length: 400)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        for _ in 0..<10 {
          do {
            try log.scan(from: 0) { entry in
              #expect(entry.record.starts(with: "\(entry.index) ".utf8), "\(entry.index)")
              return true
            }
          } catch StorageError.pruned {}
        }
      }
      group.addTask { for cut in stride(from: UInt64(256), to: 3900, by: 256) { try log.prune(before: cut) } }
      try await group.waitForAll()
    }
  }
}
