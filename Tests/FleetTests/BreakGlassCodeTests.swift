import Testing
import Trust

@testable import Fleet

@Suite struct BreakGlassCodeTests {
  @Test func aCodeIsReadHoweverItIsTyped() throws {
    for _ in 0..<200 {
      let code = BreakGlassCode()
      let text = "\(code)"
      #expect(text.utf8.count == 39 && text.hasPrefix("SKB-"))
      let typed = [
        text, text.lowercased(), String(text.dropFirst(4)), text.replacing("-", with: " "),
        text.replacing("-", with: ""), "  \(text)\n", text.replacing("0", with: "o"),
        String(text.dropFirst(4)).replacing("1", with: "l"), String(text.dropFirst(4)).replacing("1", with: "I"),
      ]
      for one in typed { #expect(BreakGlassCode(parsing: one)?.digest == code.digest, "\(one)") }
    }
    #expect(Set((0..<200).map { _ in BreakGlassCode().digest }).count == 200)
  }

  @Test func aCutOrMistypedCodeIsNone() {
    let text = "\(BreakGlassCode())"
    for length in 0..<text.count { #expect(BreakGlassCode(parsing: String(text.prefix(length))) == nil) }
    var wrong = 0
    for at in 4..<text.count {
      var bytes = Array(text.utf8)
      guard bytes[at] != UInt8(ascii: "-") else { continue }
      bytes[at] = bytes[at] == UInt8(ascii: "7") ? UInt8(ascii: "8") : UInt8(ascii: "7")
      // One in a million mistyped signs has the same checksum.
      wrong += BreakGlassCode(parsing: String(decoding: bytes, as: UTF8.self)) == nil ? 1 : 0
    }
    #expect(wrong == 30)
    for text in [
      "", "SKB-", "SKB-U", String(repeating: "0", count: 1_000_000), "SKB-" + String(repeating: "é", count: 30),
    ] {
      #expect(BreakGlassCode(parsing: text) == nil)
    }
  }

  @Test func aStatementCarriesWhatIsSoundAndLeavesOutTheRest() throws {
    let key = SigningKey.generate()
    func grant(_ codes: Int = 1, seconds: Int64 = 600, id: String = BreakGlassGrant.newID()) -> BreakGlassGrant {
      BreakGlassGrant(
        id: id, codes: (0..<codes).map { _ in BreakGlassCode().digest }, role: "admin", seconds: seconds, issued: 1,
        expires: 2, issuedBy: "operator:first")
    }
    let same = BreakGlassCode().digest
    let twice = BreakGlassGrant(
      id: BreakGlassGrant.newID(), codes: [same, same], role: "admin", seconds: 600, issued: 1, expires: 2,
      issuedBy: "operator:first")
    let sound = [grant(), grant(2)]
    let unsound = [grant(0), grant(3), grant(seconds: 1), grant(seconds: 1 << 40), grant(id: "x"), twice]
    let file = try TUFWriter.targets(version: 1, expires: .distantFuture, targets: [])
      .adding(unsound + sound).signed(by: [key])
    let read = try TUFTargets(TUFDocument(parsing: file, as: .targets))
    #expect(read.breakGlass == sound)
    let strange = try TUFWriter.targets(version: 1, expires: .distantFuture, targets: [])
      .with("breakGlass", ["new", 1, ["codes": "later"]]).signed(by: [key])
    #expect(try TUFTargets(TUFDocument(parsing: strange, as: .targets)).breakGlass.isEmpty)
  }
}
