import Host
import Synchronization
import Testing

/// One suite, one after another: the threshold is the process's.
@Suite(.serialized) struct LogTests {
  private final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    /// Without the time in front.
    var all: [String] { lines.withLock { $0.map { String($0.drop { $0 != " " }.dropFirst()) } } }
    var first: String? { lines.withLock { $0.first } }
  }

  /// Whatever another suite's agent was told to say.
  init() { Log.threshold = .info }

  private func capture(_ body: (Log) -> Void) -> Lines {
    let lines = Lines()
    body(Log(destination: .lines { lines.add($0) }))
    return lines
  }

  @Test func aLineHasTimeLevelMessageAndFields() throws {
    let lines = capture { $0.info("model ready", ["model": "smollm2", "after": "0.4 s", "empty": ""]) }
    #expect(lines.all == [#"info model ready after="0.4 s" empty="" model=smollm2"#])
    let time = try #require(lines.first?.prefix { $0 != " " })
    #expect(time.count == 24)
    #expect(time.hasSuffix("Z"))
    #expect(time.hasPrefix("20"))
  }

  @Test func nothingCanForgeALine() {
    let lines = capture {
      $0.warning("bad\nline\u{1B}[2J", ["name": "x\r\n2030 info fake=\"yes\\\"", "turn": "\u{202E}abc\u{9B}"])
    }
    #expect(
      lines.all == [
        #"warning bad\nline\u{1b}[2J name="x\u{d}\n2030 info fake=\"yes\\\"" turn="\u{202e}abc\u{9b}""#
      ])
    #expect(lines.first?.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F } == true)
  }

  @Test func theThresholdDropsWhatSaysMore() {
    let before = Log.threshold
    defer { Log.threshold = before }
    Log.threshold = .warning
    let lines = capture {
      $0.info("no")
      $0.notice("no")
      $0.warning("yes")
      $0.error("yes")
    }
    #expect(lines.all == ["warning yes", "error yes"])
    #expect(Log.Level("debug") == .debug)
    #expect(Log.Level("loud") == nil)
  }
}
