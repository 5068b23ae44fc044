import FoundationEssentials
import Testing
import Trust

extension Fuzz {
  /// The hub's signed time: whatever is taken is what the hub signed, to the letter.
  @Test func hubTime() throws {
    let root = TUFWriter.root(
      version: 1, expires: Date(timeIntervalSince1970: 2_000_000_000),
      roles: Dictionary(
        uniqueKeysWithValues: TUFRole.allCases.map { ($0, ([TUFKey(ed25519: Self.key.verifyingKey)], 1)) }))
    let authority = TimeAuthority(try TUFRoot(parsing: root.signed(by: [Self.key])))
    let honest = TimeReply.signed(device: "box", nonce: "n", time: 1_800_000_000, key: Self.key)
    Self.feed("hub time", [try JSONValue(encoding: honest).encoded()]) { input in
      let envelope: DSSEEnvelope = try JSONValue(parsing: input).decoded()
      let statement = try TimeReply.statement(in: envelope, device: "box", nonce: "n", authorities: [authority])
      #expect(statement.time == 1_800_000_000 && statement.source == .reply)
    }
  }

  /// What is kept of the floor: no reading of it traps, whatever stands in the file.
  @Test func timeFloor() throws {
    var floor = TimeFloor()
    let kept: JSONValue = [
      "entries": [
        ["statement": ["time": 1_800_000_000, "source": "reply", "keys": ["a"]], "uptime": 77],
        ["statement": ["time": 1_700_000_000, "source": "metadata", "keys": ["b", "c"]], "uptime": 0],
      ]
    ]
    floor = try kept.decoded()
    #expect(floor.entries.count == 2)
    Self.feed("time floor", [kept.encoded()]) { input in
      let floor: TimeFloor = try JSONValue(parsing: input).decoded()
      for wall in [Int64.min, 0, 1_800_000_000, .max] {
        let judged = floor.judge(wall: wall, uptime: 1 << 37)
        #expect(judged.time >= judged.floor)
      }
      #expect(try JSONValue(encoding: floor).decoded(as: TimeFloor.self) == floor)
    }
  }
}
