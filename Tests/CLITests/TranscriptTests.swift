import Foundation
import Glibc
import Testing

/// Runs the built program as a shell does, and compares with the sessions in Tests/CLI: `$` begins a command line,
/// plain lines are its standard output, `!` its standard error, `?` its exit status (0 when it isn't named).
@Suite struct TranscriptTests {
  struct Step: Equatable, CustomStringConvertible {
    var line: String
    var output = ""
    var error = ""
    var status: Int32 = 0
    var description: String {
      "$ \(line)\n\(output)"
        + error.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map { "! \($0)\n" }.joined()
        + "? \(status)\n"
    }
  }

  @Test(arguments: ["help", "usage", "alone"]) func sessionIsAsWrittenDown(_ name: String) throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "CLI/\(name).txt")
    let steps = Self.read(try String(contentsOf: file, encoding: .utf8))
    #expect(!steps.isEmpty)
    for step in steps {
      let actual = try Self.run(step.line)
      #expect(actual.description == step.description)
    }
  }

  static func read(_ text: String) -> [Step] {
    var steps: [Step] = []
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) where !line.hasPrefix("#") {
      if line.hasPrefix("$ ") {
        steps.append(Step(line: String(line.dropFirst(2))))
      } else if !steps.isEmpty {
        let at = steps.count - 1
        if line.hasPrefix("! ") {
          steps[at].error += line.dropFirst(2) + "\n"
        } else if line.hasPrefix("? ") {
          steps[at].status = Int32(line.dropFirst(2)) ?? -1
        } else {
          steps[at].output += line + "\n"
        }
      }
    }
    for at in steps.indices {
      // The empty line between two steps is nobody's output.
      while steps[at].output.hasSuffix("\n\n") || steps[at].output == "\n" { steps[at].output.removeLast() }
    }
    return steps
  }

  static func run(_ line: String) throws -> Step {
    let programs = try #require(programFolder())
    let folder = FileManager.default.temporaryDirectory.appending(path: "skerry-transcript-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let script = """
      export PATH='\(programs)':/usr/bin:/bin
      unset SKERRY_SOCKET SKERRY_HUB_URL SKERRY_HUB_PIN SKERRY_HUB_ADMIN_TOKEN SKERRY_HUB_ADMIN_TOKEN_FILE COLUMNS
      cd '\(folder.path)'
      { \(line)
      } </dev/null >stdout 2>stderr
      """
    try script.write(to: folder.appending(path: "script"), atomically: false, encoding: .utf8)
    let status = system("bash '\(folder.path)/script'")
    return Step(
      line: line, output: try String(contentsOf: folder.appending(path: "stdout"), encoding: .utf8),
      error: try String(contentsOf: folder.appending(path: "stderr"), encoding: .utf8), status: status >> 8)
  }

  /// Where the build put the programs: beside the program that runs these tests.
  static func programFolder() -> String? {
    let package = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    var folders = [package.appending(path: ".build/debug").path]
    let own = CommandLine.arguments.first ?? ""
    if own.contains("/") { folders.insert(URL(filePath: own).deletingLastPathComponent().path, at: 0) }
    return folders.first { access($0 + "/skerry", X_OK) == 0 }
  }
}
