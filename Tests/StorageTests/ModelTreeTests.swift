import Glibc
import Storage
import Testing
import Trust

@Suite struct ModelTreeTests {
  private func write(_ path: String, _ text: String) throws {
    try DurableFile.makeDirectory(path.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 })
    try DurableFile.replace(path, with: Array(text.utf8))
  }

  @Test func aFolderIsListedWithAllBelowIt() async throws {
    let scratch = Scratch()
    for path in ["a", "b/c", "b/d/e", ".git/HEAD"] { try write("\(scratch.path)/m/\(path)", path) }
    let tree = try ModelTree(scratch.path + "/m//", isIgnored: { $0 == ".git" })
    #expect(tree.name == "m" && !tree.isSingleFile)
    #expect(tree.sizes == ["a": 1, "b/c": 3, "b/d/e": 5])
    let ranges = ["b/d/e", "a", "b/c"].map { ModelFileRange(path: $0) }
    for workers in [1, 2, 9] {
      let digests = try await tree.digests(of: ranges, workers: workers)
      #expect(digests == ["b/d/e", "a", "b/c"].map { Digest(of: Array($0.utf8)) })
    }
  }

  @Test func aFileIsAModelToo() async throws {
    let scratch = Scratch()
    try write("\(scratch.path)/w.gguf", "0123456789")
    let tree = try ModelTree(scratch.path + "/w.gguf")
    #expect(tree.isSingleFile && tree.name == "w.gguf" && tree.sizes == [ModelPath.singleFile: 10])
    let ranges = ModelFileRange.ranges(of: ModelPath.singleFile, length: 10, shardSize: 4)
    #expect(
      try await tree.digests(of: ranges) == ["0123", "4567", "89"].map { Digest(of: Array($0.utf8)) })
  }

  @Test func linksAreRefusedOrFollowedToFilesAlone() throws {
    let scratch = Scratch()
    let root = scratch.path + "/m"
    try write("\(root)/a", "a")
    try write("\(scratch.path)/outside", "o")
    symlink("a", "\(root)/inner")
    #expect(throws: ModelTreeError.link(path: "\(root)/inner")) { try ModelTree(root) }
    #expect(try ModelTree(root, followingLinks: true).sizes == ["a": 1, "inner": 1])
    symlink("../outside", "\(root)/outer")
    #expect(try ModelTree(root, followingLinks: true).linksOutside == ["outer"])
    symlink(".", "\(root)/loop")
    #expect(throws: ModelTreeError.linkToFolder(path: "\(root)/loop")) { try ModelTree(root, followingLinks: true) }
    unlink("\(root)/loop")
    symlink("nowhere", "\(root)/dangling")
    #expect(throws: StorageError.self) { try ModelTree(root, followingLinks: true) }
    symlink("m", "\(scratch.path)/alias")
    #expect(throws: ModelTreeError.link(path: "\(scratch.path)/alias")) { try ModelTree(scratch.path + "/alias/") }
  }

  @Test func aFileThatChangesIsNotHashed() async throws {
    let scratch = Scratch()
    try write("\(scratch.path)/m/a", "before")
    let tree = try ModelTree(scratch.path + "/m")
    try write("\(scratch.path)/m/a", "longer than before")
    await #expect(throws: ModelTreeError.changed(path: "\(scratch.path)/m/a")) {
      try await tree.digests(of: [ModelFileRange(path: "a")])
    }
    unlink("\(scratch.path)/m/a")
    symlink("/etc/passwd", "\(scratch.path)/m/a")
    await #expect(throws: StorageError.self) { try await tree.digests(of: [ModelFileRange(path: "a")]) }
  }

  @Test func progressReachesTheWhole() async throws {
    let scratch = Scratch()
    try write("\(scratch.path)/m/a", String(repeating: "x", count: 3 << 20))
    let tree = try ModelTree(scratch.path + "/m")
    let seen = Seen()
    _ = try await tree.digests(of: [ModelFileRange(path: "a")]) { done, total in seen.note(done, total) }
    #expect(seen.last == [3 << 20, 3 << 20])
  }

  private final class Seen: @unchecked Sendable {
    private(set) var last: [UInt64] = []
    // One worker: one range.
    func note(_ done: UInt64, _ total: UInt64) { last = [done, total] }
  }
}
