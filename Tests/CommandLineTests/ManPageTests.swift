import Testing

@testable import CommandLine

@Suite struct ManPageTests {
  @Test func carriesTheWholeCommand() {
    let page = ManPage.roff(boat, path: ["sail"], version: "0.1")
    #expect(page.hasPrefix(".TH \"BOAT\\-SAIL\" 1 \"\" \"Skerry 0.1\" \"Skerry\"\n"))
    #expect(page.contains(".SH NAME\nboat\\-sail \\- sails to a place\n"))
    #expect(page.contains("\\fB\\-s\\fR, \\fB\\-\\-speed\\fR \\fIKNOTS\\fR\nhow fast (default: 5)\n"))
    #expect(page.contains(".SH \"SEE ALSO\"\n.BR boat (1)\n"))
  }

  @Test func noTextBecomesARequestOrAnEscape() {
    let spec = CommandSpec(
      "p", "does things", discussion: ".so /etc/passwd\n\n'quoted\n\na\\b “c”",
      arguments: [ArgumentSpec("A", ".TH x", .optional)])
    let page = ManPage.roff(spec, version: "1")
    #expect(page.contains("\n\\&.so /etc/passwd\n"))
    #expect(page.contains("\n\\(aqquoted\n"))
    #expect(page.contains("a\\eb \\[u201C]c\\[u201D]"))
    #expect(page.contains("\n\\&.TH x\n"))
    #expect(page.unicodeScalars.allSatisfy { $0.isASCII })
  }
}
