import FoundationEssentials
import Testing
import Trust

@testable import Fleet

/// Every kind of record, with every member as long and as hostile as it can be.
@Suite struct AuditSchemaTests {
  private static let hostile: [String] = [
    "a\nb", "a\r\n{\"v\":2}", "\"", "\\", "\\\"", "\u{0}", "\u{FEFF}{", "\u{2028}{\"kind\":\"stop\"}", "\u{2029}",
    "\u{85}",
    "\u{202E}nimda", "\u{2066}x\u{2069}", "\u{200D}\u{200B}", "\u{E0041}", "\u{7F}\u{9B}31m", "\u{1B}[2J",
    #"","allowed":true,"reason":""#, #"}}{"hash":"","n":0,"record":{"#, "=HYPERLINK(\"http://x\",\"y\")", "+1", "-1",
    "@x", ",;\t",
    "<34>1 2026-01-01T00:00:00Z box skerryd - stop - ", "[meta sequenceId=\"7\"] \u{FEFF}x", "]\\",
    "\u{FFFD}\u{FFFF}\u{10FFFF}",
    String(decoding: [0xED, 0xA0, 0x80, 0x41, 0xFF, 0xC0, 0x80] as [UInt8], as: UTF8.self), "e\u{301}Größe 🪨", "",
    String(repeating: "x", count: 1 << 20), String(repeating: "\"", count: 1 << 20),
    String(repeating: "\u{1}", count: 1 << 18),
    String(repeating: "🪨", count: 1 << 16),
  ]

  /// A good value of the type, with this text where it takes any.
  private static func value(_ type: AuditType, _ text: String = "x", most: Bool = false) -> JSONValue {
    switch type {
    case .word(let words): .string(words.max { $0.utf8.count < $1.utf8.count } ?? "")
    case .name, .text: .string(text)
    case .digest: .string(Digest(of: []).hex)
    case .keyed: .string(AuditType.keyedPrefix + Digest(of: []).hex)
    case .integer: .integer(most ? .min : 7)
    case .flag: false
    case .texts(let count, _): .array((0..<(most ? count + 1 : 1)).map { _ in .string(text) })
    case .integers(let count): .array((0..<(most ? count + 1 : 1)).map { _ in .integer(.min) })
    case .counts(let count):
      .object(
        Dictionary(
          uniqueKeysWithValues: (0..<(most ? count + 1 : 1)).map {
            (String(repeating: "\"", count: 60) + "\(1000 + $0)", .integer(.min))
          }))
    }
  }

  private static func record(_ kind: AuditKind, _ index: UInt64, _ fields: [String: JSONValue], actor: String)
    -> [UInt8]
  {
    var members = AuditSchema.settle(kind, fields).members
    members["v"] = .integer(AuditSchema.version)
    members["n"] = .integer(Int64(clamping: index))
    members["t"] = 1_800_000_000_123
    members["kind"] = .string(kind.rawValue)
    members["actor"] = .string(AuditSchema.actor(actor))
    return JSONValue.object(members).encoded()
  }

  private static func fields(_ kind: AuditKind, _ text: String = "x", most: Bool = false) -> [String: JSONValue] {
    Dictionary(uniqueKeysWithValues: kind.members.map { ($0.name, value($0.type, text, most: most)) })
  }

  @Test(arguments: AuditKind.allCases)
  func noRecordIsLongerThanATileTakes(_ kind: AuditKind) throws {
    let bound = (AuditSchema.common + kind.members).reduce(2) { $0 + $1.name.utf8.count + 4 + $1.type.longest }
    #expect(bound <= AuditSchema.longestRecord, "\(kind) can have \(bound) bytes")
    for text in ["\"", "\\", "\u{1}", "🪨", "\u{2028}\"x"] {
      let long = String(repeating: text, count: 1 + (6 << 10) / max(1, text.utf8.count))
      let record = Self.record(kind, .max, Self.fields(kind, long, most: true), actor: long)
      #expect(record.count <= bound)
      var tiles = TlogTiles()
      _ = try tiles.append(record)
    }
  }

  /// One record stays one line, is canonical, and comes back byte for byte out of every form.
  @Test(arguments: AuditKind.allCases)
  func nobodysWordsForgeALine(_ kind: AuditKind) throws {
    let origin = "skerry/audit/0123456789abcdef0123456789abcdef"
    var index: UInt64 = 0
    for (number, text) in Self.hostile.enumerated() {
      // All members at once, and where the text is long or the turn comes each by itself.
      let alone = ["actor"] + kind.members.map(\.name)
      let isLong = text.utf8.count > 1000
      for name in (isLong ? [] : [""])
        + alone.enumerated().filter({ isLong || ($0.offset + number) % 5 == 0 }).map(\.element)
      {
        var fields = name.isEmpty ? Self.fields(kind, text) : Self.fields(kind)
        if let member = kind.members.first(where: { $0.name == name }) { fields[name] = Self.value(member.type, text) }
        let record = Self.record(kind, index, fields, actor: name.isEmpty || name == "actor" ? text : "token:app")
        let shown = String(decoding: record, as: UTF8.self)
        // What any reader takes for the end of a line, Python's splitlines() for one, is not in it.
        #expect(shown.unicodeScalars.allSatisfy(AuditText.isShown), "\(kind) \(name)")
        let value = try JSONValue(parsing: record)
        #expect(value.encoded() == record && value["kind"]?.string == kind.rawValue)
        #expect(value["n"] == .integer(Int64(index)) && value["v"] == .integer(AuditSchema.version))
        let again = AuditSchema.settle(
          kind, (value.object ?? [:]).filter { at in kind.members.contains { $0.name == at.key } })
        #expect(again.faults.isEmpty && again.members.allSatisfy { value[$0.key] == $0.value }, "\(kind) \(name)")

        let line = AuditExportEntry.line(index: index, record: record)
        #expect(try AuditExportEntry(line: line).record == record)
        let made = try #require(AuditFormatRecord(origin: origin, index: index, bytes: record))
        for format in [AuditFormat.ocsf, .syslog, .otlp, .csv] {
          let encoded = format.encode([made], version: "1")
          #expect(encoded.last == 0x0A && encoded.dropLast().allSatisfy { $0 != 0x0A }, "\(format)")
          let found = try format.verifiedRecords(in: Array(encoded.dropLast()), origin: origin, version: "1")
          #expect(found == [record], "\(format) \(kind) \(name)")
        }
        index += 1
      }
    }
  }

  @Test func whatIsNotInTheSchemaIsToldAndLeftOut() {
    let good: [String: JSONValue] = ["allowed": true, "verb": "infer"]
    #expect(AuditSchema.settle(.decision, good).faults.isEmpty)
    let nothing = AuditSchema.settle(.decision, good.merging(["reason": .null]) { $1 })
    #expect(nothing.faults.isEmpty && nothing.members == good)
    for (bad, fault, cut) in [
      (["allowed": true, "forged": "x"], AuditSchema.Fault.unknown("forged"), "?"),
      (["allowed": true, "n\",\"kind": "x"], .unknown("n\",\"kind"), "?"),
      (["allowed": true, "kind": "x"], .unknown("kind"), "?"),
      (["allowed": "yes"], .wrongType("allowed"), "allowed"), (["verb": "infer"], .missing("allowed"), "allowed"),
      (["allowed": true, "verb": .double(0.5)], .wrongType("verb"), "verb"),
      (["allowed": true, "verb": ["infer"]], .wrongType("verb"), "verb"),
    ] as [([String: JSONValue], AuditSchema.Fault, String)] {
      let settled = AuditSchema.settle(.decision, bad)
      #expect(settled.faults == [fault] && fault.isMistake && settled.members["cut"] == [.string(cut)])
    }
    let long = AuditSchema.settle(.decision, ["allowed": true, "verb": .string(String(repeating: "ä", count: 99))])
    #expect(long.faults == [.tooLong("verb")] && long.faults.allSatisfy { !$0.isMistake })
    #expect(long.members["verb"] == .string(String(repeating: "ä", count: 30) + "…") && long.members["cut"] == ["verb"])
    #expect(
      AuditSchema.settle(.attack, ["attack": "none", "role": "x", "reason": "x"]).faults == [.wrongType("attack")])
  }

  /// Members have one name each, and none of those that every record has.
  @Test func namesAreUnambiguous() {
    for kind in AuditKind.allCases {
      let names = AuditSchema.common.map(\.name) + kind.members.map(\.name)
      #expect(Set(names).count == names.count, "\(kind)")
      #expect(kind.members.count <= AuditSchema.mostCut && names.allSatisfy { $0.utf8.count <= 32 })
    }
  }

  /// docs/audit.md has the table; `UPDATE_DOCS=1` writes it.
  @Test func theTableIsInTheDocuments() throws {
    let path = #filePath.components(separatedBy: "/Tests/")[0] + "/docs/audit.md"
    let text = try String(decoding: Data(contentsOf: URL(filePath: path)), as: UTF8.self)
    let (begin, end) = ("<!-- skerry audit schema -->\n", "\n<!-- end -->")
    let parts = text.components(separatedBy: begin)
    try #require(parts.count == 2)
    let rest = parts[1].components(separatedBy: end)
    if ProcessInfo.processInfo.environment["UPDATE_DOCS"] != nil {
      let made = parts[0] + begin + AuditSchema.table + end + rest.dropFirst().joined(separator: end)
      try Data(made.utf8).write(to: URL(filePath: path))
    } else {
      #expect(rest[0] == AuditSchema.table, "UPDATE_DOCS=1 swift test --filter AuditSchema writes it")
    }
  }
}
