import Testing

@testable import Models

@Suite struct FolderFileTests {
  @Test(arguments: ["config.json", "a/b/c.json", "..config", "a..b/c"]) func pathsOfFiles(_ path: String) throws {
    #expect(try FolderFile(path, at: 0, 1, type: 24).path == path)
  }

  @Test(arguments: [
    "", "/etc/passwd", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b", "1/2/3/4/5/6/7/8/9",
  ]) func noPathLeavesTheFolder(_ path: String) {
    #expect(throws: GGUFError.self) { try FolderFile(path, at: 0, 1, type: 24) }
  }

  @Test func onlyBytesAreFiles() {
    #expect(throws: GGUFError.self) { try FolderFile("a", at: 0, 1, type: 0) }
  }
}
