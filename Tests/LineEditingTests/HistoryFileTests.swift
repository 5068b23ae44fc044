import Foundation
import Glibc
import Testing

@testable import LineEditing

@Suite struct HistoryFileTests {
  private let folder = NSTemporaryDirectory() + "skerry-history-" + UUID().uuidString

  private func mode(_ path: String) -> mode_t {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o777 : 0
  }

  @Test func itIsForItsOwnerAlone() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let file = HistoryFile(path: folder + "/a/b/history")
    try file.append("one\\two\nthree")
    #expect(mode(file.path) == 0o600 && mode(folder + "/a") == 0o700)
    chmod(file.path, 0o644)
    try file.append("four")
    #expect(mode(file.path) == 0o600)
    #expect(try String(contentsOfFile: file.path, encoding: .utf8) == "one\\\\two\\nthree\nfour\n")
    #expect(file.newest(5) == ["one\\two\nthree", "four"] && file.newest(1) == ["four"])
  }

  @Test func itStaysSmall() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let file = HistoryFile(path: folder + "/history")
    let long = String(repeating: "x", count: 1 << 20)
    for number in 0..<6 { try file.append("\(number)" + long) }
    #expect(file.newest(10).map { $0.prefix(1) } == ["3", "4", "5"])
    try file.append("last")
    #expect(file.newest(1) == ["last"])
    var status = stat()
    #expect(stat(file.path, &status) == 0 && Int(status.st_size) <= HistoryFile.longest)
  }

  @Test func noLinkNoFolderAndNothingWithoutAPlaceIsWrittenTo() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let target = folder + "/target"
    try "mine".write(toFile: target, atomically: false, encoding: .utf8)
    symlink(target, folder + "/link")
    for path in [folder + "/link", folder, "/proc/nowhere/history", folder + "/target/below"] {
      #expect(throws: HistoryError.self) { try HistoryFile(path: path).append("x") }
    }
    #expect(try String(contentsOfFile: target, encoding: .utf8) == "mine")
  }
}
