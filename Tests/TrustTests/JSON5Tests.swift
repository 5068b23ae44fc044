import FoundationEssentials
import Testing

@testable import Trust

@Suite struct JSON5Tests {
  @Test(arguments: [
    "{}", "[]", " null ", "true", "0", "-0", "12", "-9223372036854775808", "9223372036854775807", "1.5", ".5", "5.",
    "1e3",
    "-1.5E-2", "0x1F", "+7", "'a'", "\"a\\u00e9\\n\\x41\\'\"", "\"\\ud83d\\ude00\"", "{a: 1, 'b': [1, 2,], $c_1: {},}",
    "// c\n{a /* x */ : // y\n 1}", "\"\u{e9}\u{1F600}\"", "[[[[1]]]]",
  ])
  func readsWhatTheStandardReaderReads(_ text: String) throws {
    let decoder = JSONDecoder()
    decoder.allowsJSON5 = true
    let expected = try decoder.decode(JSONValue.self, from: Data(text.utf8))
    #expect(try JSONValue(parsing: text.utf8, json5: true) == expected)
  }

  @Test(arguments: [
    ("", "line 1, column 1: the document ends where a value should stand"),
    ("{a: 1,\n b: 2\n c: 3}", "line 3, column 2: a comma or } should stand here, not c"),
    ("{a: 1", "line 1, column 6: a comma or } should stand here, not the end of the document"),
    ("{a: 1,\n", "line 1, column 1: this object is never closed with }"),
    ("[1,\n", "line 1, column 1: this array is never closed with ]"),
    ("{a: yes}", "line 1, column 5: \"yes\" is no value; text stands in quotes"),
    ("{a 1}", "line 1, column 4: a colon should follow the key \"a\""),
    ("{\n a: 1,\n a: 2}", "line 3, column 2: the key \"a\" stands twice in this object"),
    ("{a: 'x\n'}", "line 1, column 5: this text is not closed on its line"),
    ("/* x", "line 1, column 1: a comment that never ends"),
    ("{} {}", "line 1, column 4: text after the end of the document"),
    ("01", "line 1, column 1: no number"), ("1e", "line 1, column 1: no number"),
    ("-", "line 1, column 1: no number"), ("1e999", "line 1, column 1: a number out of range"),
    ("'\\u12'", "line 1, column 2: an escape needs 4 hexadecimal digits"),
    ("'\\ud800'", "line 1, column 2: half a surrogate pair"),
  ])
  func saysWhereItStops(_ text: String, _ expected: String) {
    #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: text.utf8, json5: true) }
    do { _ = try JSONValue(parsing: text.utf8, json5: true) } catch { #expect(error.description == expected) }
  }

  @Test(arguments: [
    "{}", "[]", " null\n", "true", "0", "-0", "12", "-9223372036854775808", "9223372036854775807", "1.5", "1e3",
    "-1.5E-2",
    "1.0", "18446744073709551615", "\"a\\u00e9\\n\\/\\\"\"", "\"\\ud83d\\ude00\"",
    "{\"a\": 1, \"b\": [1, 2, {\"\": null}]}",
    "\"\u{e9}\u{1F600}\u{7F}\"", "[[[[1]]]]", "",
    // Not JSON, though JSON5.
    "{a: 1}", "'a'", "// c\n1", "+1", ".5", "5.", "0x1F", "Infinity", "NaN", "\"\\x41\"",
    "\"\\v\"", "\"\\0\"",
    "\"a\\\nb\"", "\u{B}1", "\"\t\"", "01", "-", "1e", "[1 2]", "{\"a\" 1}", "{\"a\":}", "nul", "[", "{", "\"a",
    "\"\\ud800\"",
  ])
  func strictReadingIsTheStandardReaders(_ text: String) {
    let expected = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    #expect((try? JSONValue(parsing: text.utf8)) == expected)
  }

  @Test func strictReadingRefusesEqualKeysAndBytesThatAreNoText() {
    #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: Array("{\"a\":1,\"a\":2}".utf8)) }
    // RFC 8259 §4 and §5; the standard reader lets them through.
    for text in ["[1,]", "{\"a\":1,}"] { #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: text.utf8) } }
    #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
    #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: [0xEF, 0xBB, 0xBF, 0x31]) }
  }

  /// JSON5 §5.2: the escaped line break is no part of the text.
  @Test func linesGoOn() throws {
    #expect(try JSONValue(parsing: "'line \\\n goes on'".utf8, json5: true) == "line  goes on")
  }

  @Test func refusesAbysses() {
    #expect(throws: JSONSyntaxError.self) {
      try JSONValue(parsing: [UInt8](repeating: UInt8(ascii: "["), count: 100_000), json5: true)
    }
  }
}
