import Testing
import Trust

@Suite struct JSONTests {
  @Test func writesOneFormOnly() throws {
    let value = try JSONValue(
      parsing: Array(#" { "b" : [1, 2.5, true, null] , "a\u0001" : "\u00e9\n\"\/\u2028" } "#.utf8))
    #expect(
      String(decoding: value.encoded(), as: UTF8.self) == "{\"a\\u0001\":\"é\\n\\\"/\u{2028}\",\"b\":[1,2.5,true,null]}"
    )
    #expect(try JSONValue(parsing: value.encoded()) == value)
  }

  @Test func canonicalOLPCEscapesOnlyQuoteAndBackslash() throws {
    let value: JSONValue = ["k": "a\n\"\\", "a": -1]
    #expect(try String(decoding: value.canonicalOLPC(), as: UTF8.self) == "{\"a\":-1,\"k\":\"a\n\\\"\\\\\"}")
    #expect(throws: NotCanonical.self) { try JSONValue.double(0.5).canonicalOLPC() }
  }

  @Test(arguments: ["", "{", "[1 2]", "nul", "\"\u{1}\"", "1 2", "{'a':1}"])
  func refusesWhatIsNoJSON(_ text: String) {
    #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: Array(text.utf8)) }
  }
}
