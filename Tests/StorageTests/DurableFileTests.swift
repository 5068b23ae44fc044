import Glibc
import Storage
import Testing

@Suite struct DurableFileTests {
  let scratch = Scratch()

  @Test func replacesAndReads() throws {
    let path = scratch.file("f")
    #expect(try DurableFile.read(path, limit: 10) == nil)
    try DurableFile.replace(path, with: [1, 2, 3])
    try DurableFile.replace(path, with: [4], mode: 0o644)
    #expect(try DurableFile.read(path, limit: 10) == [4])
    #expect(mode(path) == 0o644)
    #expect(try DurableFile.names(in: scratch.path) == ["f"])
    try DurableFile.remove(path)
    try DurableFile.remove(path)
    #expect(!DurableFile.exists(path))
  }

  @Test func theUmaskDoesNotCount() throws {
    let path = scratch.file("f")
    let before = umask(0o777)
    defer { umask(before) }
    try DurableFile.replace(path, with: [], mode: 0o640)
    #expect(mode(path) == 0o640)
  }

  @Test func aLimitIsALimit() throws {
    let path = scratch.file("f")
    try DurableFile.replace(path, with: [1, 2, 3])
    #expect(try DurableFile.read(path, limit: 3) == [1, 2, 3])
    #expect(throws: StorageError.tooLarge(path: path, limit: 2)) { try DurableFile.read(path, limit: 2) }
  }

  @Test func readersNeverSeeAMixture() async throws {
    let path = scratch.file("f")
    try DurableFile.replace(path, with: [UInt8](repeating: 0, count: 50_000))
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        for number in UInt8(1)...60 { try DurableFile.replace(path, with: [UInt8](repeating: number, count: 50_000)) }
      }
      group.addTask {
        for _ in 0..<300 {
          let bytes = try #require(try DurableFile.read(path))
          #expect(bytes.count == 50_000 && Set(bytes).count == 1)
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func foldersAreMadeOnTheWay() throws {
    try DurableFile.makeDirectory(scratch.file("a/b/c"), mode: 0o700)
    try DurableFile.makeDirectory(scratch.file("a/b/c"), mode: 0o700)
    #expect(mode(scratch.file("a/b")) == 0o700)
    try DurableFile.replace(scratch.file("file"), with: [])
    #expect(throws: StorageError.self) { try DurableFile.makeDirectory(scratch.file("file/x")) }
  }

  @Test func aMissingFolderIsTold() {
    let path = scratch.file("no/f")
    #expect(throws: StorageError.notFound(path: path)) { try DurableFile.replace(path, with: []) }
  }

  @Test(.enabled(if: SmallDisk.isPossible)) func aFullDiskKeepsTheOldContent() throws {
    let disk = try SmallDisk(bytes: 131_072)
    let path = disk.file("f")
    try DurableFile.replace(path, with: [7])
    #expect(throws: StorageError.full(path: path)) { try DurableFile.replace(path, with: sampleBytes(200_000)) }
    #expect(try DurableFile.read(path) == [7])
    #expect(try DurableFile.names(in: disk.path) == ["f"])
    disk.setReadOnly(true)
    #expect(throws: StorageError.readOnly(path: path)) { try DurableFile.replace(path, with: [8]) }
    #expect(try DurableFile.read(path) == [7])
  }
}
