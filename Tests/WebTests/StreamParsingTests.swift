import Testing
import Web

@Suite struct StreamParsingTests {
  private func events(_ text: String, by size: Int, limit: Int = 1000) -> [ServerSentEvents.Event] {
    var parser = ServerSentEvents(limit: limit)
    let bytes = Array(text.utf8)
    return stride(from: 0, to: bytes.count, by: size).flatMap { parser.push(bytes[$0..<min($0 + size, bytes.count)]) }
  }

  /// The examples of WHATWG HTML §9.2.6 and what surrounds them, however the bytes are cut.
  @Test(arguments: [1, 2, 3, 7, 1000])
  func eventsAsTheStandardReadsThem(_ size: Int) {
    let text =
      "\u{FEFF}data: first\n\n: a comment\n\nevent: add\ndata: 7\nid: 1\nretry: 5\n\ndata:YHOO\ndata: +2\ndata:  10\n\n"
      + "data\n\ndata\ndata\n\nevent: nothing\n\nunknown: x\ndata:[DONE]\r\n\r\ndata: cr\r\rdata: a:b\n\ndata: cut short"
    #expect(
      events(text, by: size).map { [$0.event, $0.text] }
        == [
          ["", "first"], ["add", "7"], ["", "YHOO\n+2\n 10"], ["", ""], ["", "\n"], ["", "[DONE]"], ["", "cr"],
          ["", "a:b"],
        ])
  }

  @Test func manyTokensInOnePiece() {
    let text = (0..<1000).map { "data: {\"n\":\($0)}\n\n" }.joined()
    #expect(events(text, by: 4096).map(\.text) == (0..<1000).map { "{\"n\":\($0)}" })
  }

  @Test(arguments: [1, 5, 4096])
  func anEventAboveTheLimitIsLeftOutAndNoMore(_ size: Int) {
    var parser = ServerSentEvents(limit: 100)
    let long = "data: \(String(repeating: "a", count: 200))\n\n"
    let many = String(repeating: "data: \(String(repeating: "b", count: 30))\n", count: 10) + "\n"
    let bytes = Array(("data: one\n\n" + long + "data: two\n\n" + many + "data: three\n\n").utf8)
    let found = stride(from: 0, to: bytes.count, by: size).flatMap {
      parser.push(bytes[$0..<min($0 + size, bytes.count)])
    }
    #expect(found.map(\.text) == ["one", "two", "three"])
    #expect(parser.hasOverflowed)
  }

  @Test(arguments: [1, 2, 3, 1000])
  func lines(_ size: Int) {
    var splitter = LineSplitter(limit: 10)
    let bytes = Array("one\r\n\ntwo\n0123456789abcdefghijXYZ\n\rx\nlast".utf8)
    var found = stride(from: 0, to: bytes.count, by: size).flatMap {
      splitter.push(bytes[$0..<min($0 + size, bytes.count)])
    }
    found += splitter.finish().map { [$0] } ?? []
    #expect(
      found.map { String(decoding: $0, as: UTF8.self) }
        == ["one", "", "two", "0123456789", "abcdefghij", "XYZ", "\rx", "last"])
    #expect(splitter.finish() == nil)
  }

  @Test func ndjsonSkipsEmptyLines() {
    var parser = NDJSON()
    #expect(parser.push(Array("{}\n\n[1]\n{\"a\"".utf8)).map { String(decoding: $0, as: UTF8.self) } == ["{}", "[1]"])
    #expect(parser.push(Array(":1}".utf8)).isEmpty)
    #expect(parser.finish() == Array("{\"a\":1}".utf8))
  }
}
