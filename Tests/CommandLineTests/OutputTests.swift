import Synchronization
import Testing

@testable import CommandLine

@Suite struct OutputTests {
  @Test func tablesAlignAndFillEmptyCells() {
    var table = Table("name", "size", "state", right: ["size"])
    table.add("smollm2", "9", "active")
    table.add("q", "1000", "")
    table.add("evil\u{1B}[2J\nname", "1", "x", "beyond")
    #expect(
      table.render() == """
        NAME                SIZE  STATE
        smollm2                9  active
        q                   1000  -
        evil\\u{1B}[2J name     1  x

        """)
  }

  @Test func controlCharactersAreShownNotObeyed() {
    #expect(Voice.printable("plain ünï\n") == "plain ünï\n")
    #expect(Voice.printable("\u{1B}]0;x\u{07}\u{9B}\u{202E}\r") == "\\u{1B}]0;x\\u{7}\\u{9B}\\u{202E}\\u{D}")
    #expect(
      Voice.errorText(program: "boat", "no wind", hint: "row") == "boat: no wind\nhint: row\n")
  }

  @Test func numbersReadWell() {
    #expect(Readable.bytes(0) == "0 B")
    #expect(Readable.bytes(1023) == "1023 B")
    #expect(Readable.bytes(1024) == "1.0 KiB")
    #expect(Readable.bytes(UInt64.max) == "16777216.0 TiB")
    #expect(Readable.seconds(0) == "0s")
    #expect(Readable.seconds(61) == "1m 1s")
    #expect(Readable.seconds(93_600) == "1d 2h")
    #expect(Readable.seconds(86_401) == "1d")
    #expect(Readable.fixed(-0.25) == "-0.3")
  }

  private final class Screen: Sendable {
    let drawn = Mutex("")
    let clock = Mutex(ContinuousClock.now)
    func bar(live: Bool) -> ProgressBar {
      ProgressBar(
        live: live, columns: { 60 }, write: { [self] text in drawn.withLock { $0 += text } },
        now: { [self] in clock.withLock { $0 } })
    }
    func wait(_ time: Duration) { clock.withLock { $0 += time } }
    var text: String { drawn.withLock { $0 } }
  }

  @Test func aLogGetsALineEveryTwoSecondsAndQuickWorkNone() {
    let screen = Screen()
    let bar = screen.bar(live: false)
    bar.update("model", done: 0, total: 4096)
    screen.wait(.seconds(1))
    bar.update("model", done: 1024, total: 4096)
    #expect(screen.text == "")
    screen.wait(.seconds(1))
    bar.update("model", done: 2048, total: 4096)
    screen.wait(.seconds(1))
    bar.update("model", done: 4096, total: 4096)
    bar.finish()
    #expect(screen.text == "model 2.0 KiB of 4.0 KiB 50% 1.0 KiB/s 2s left\n")
  }

  @Test func aTerminalIsRedrawnAndCleanedUp() {
    let screen = Screen()
    let bar = screen.bar(live: true)
    bar.update("m", done: 512, total: 1024)
    bar.update("m", done: 600, total: 1024)
    bar.update("m", done: 1024, total: 1024)
    bar.finish()
    let frames = screen.text.split(separator: "\r")
    #expect(frames.count == 2)
    #expect(frames.first?.contains("512 B of 1.0 KiB 50%") == true)
    #expect(frames.last?.hasSuffix("100%\n") == true)
    #expect(screen.text.split(separator: "\r").allSatisfy { $0.count <= 60 })
  }

  @Test func itemsAreCountedAndNotWeighed() {
    #expect(
      ProgressBar.line("chunks", done: 2048, total: 4096, unit: .items, elapsed: .zero, width: 0)
        == "chunks 2048 of 4096 50%")
  }

  @Test(arguments: [0, 1, 5, 20, 60, 200]) func aBarFitsItsWidth(_ width: Int) {
    let line = ProgressBar.line("label", done: 5, total: 10, elapsed: .seconds(2), width: width)
    #expect(width == 0 || line.count <= width)
    _ = ProgressBar.line("label", done: 20, total: 10, elapsed: .zero, width: width)
  }
}
