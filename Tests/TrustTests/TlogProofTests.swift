import Testing

@testable import Trust

@Suite struct TlogProofTests {
  private let key = SigningKey.generate()

  private func proof(_ index: UInt64, of size: UInt64) throws -> TlogProof {
    var tree = MerkleFrontier()
    var stored: [Digest] = []
    for n in 0..<size { stored += tree.append(Merkle.leafHash(Array("record \(n)".utf8))) }
    let text = Checkpoint(origin: "log", size: size, root: tree.root).noteText
    return try TlogProof(
      extra: Array("record \(index)".utf8), index: index,
      path: Merkle.inclusionProof(index: index, size: size) { $0.map { stored[Int($0)] } },
      head: SignedNote.sign(text: text, name: "log", key: key))
  }

  @Test func writtenAndReadToTheLetter() throws {
    for (index, size) in [(0, 1), (0, 2), (6, 7), (1_000, 2_000)] as [(UInt64, UInt64)] {
      let made = try proof(index, of: size)
      let read = try TlogProof(parsing: Array(made.encoded.utf8))
      #expect(read == made && read.proves(Array("record \(index)".utf8)) && !read.proves(Array("record".utf8)))
      #expect(made.encoded.hasPrefix("c2sp.org/tlog-proof@v1\nextra "))
    }
  }

  /// The specification's example, with whole signatures.
  @Test func extraDataMayBeMissing() throws {
    let made = try proof(5, of: 9)
    let bare = try TlogProof(extra: nil, index: 5, path: made.path, head: made.head)
    #expect(bare.encoded.split(separator: "\n")[1] == "index 5")
    #expect(try TlogProof(parsing: Array(bare.encoded.utf8)) == bare)
  }

  @Test func everyFlippedBitIsNoticed() throws {
    let made = try proof(5, of: 9)
    let bytes = Array(made.encoded.utf8)
    let verifier = NoteVerifier(name: "log", key: key.verifyingKey)
    for at in bytes.indices {
      for bit in 0..<8 {
        var changed = bytes
        changed[at] ^= 1 << UInt8(bit)
        guard let read = try? TlogProof(parsing: changed) else { continue }
        let holds = read.head.verified(by: verifier) && read.proves(read.extra ?? [])
        // Unused bits at the end of a signature's base64 say nothing.
        #expect(!holds || read == made, "byte \(at), bit \(bit)")
      }
    }
  }

  @Test(arguments: [
    "", "c2sp.org/tlog-proof@v2\nindex 0\n\n", "c2sp.org/tlog-proof@v1\nindex 00\n\n",
    "c2sp.org/tlog-proof@v1\nindex -1\n\n",
    "c2sp.org/tlog-proof@v1\nextra A\nindex 0\n\n", "c2sp.org/tlog-proof@v1\n\n",
    "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n",
    "c2sp.org/tlog-proof@v1\nindex 0\n\nlog\n1\n",
  ])
  func refusesWhatIsNone(_ text: String) {
    #expect(throws: TlogProofError.self) { try TlogProof(parsing: Array(text.utf8)) }
  }

  @Test func tilesAreNamedAsTheSpecificationSays() {
    #expect(TlogTiles.name(1_234_067) == "x001/x234/067")
    #expect(TlogTiles.name(0) == "000" && TlogTiles.name(999) == "999" && TlogTiles.name(1_000) == "x001/000")
  }

  /// "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112, one full
  /// level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1."
  @Test func aTreeOfSeventyThousandHasTheTilesOfTheSpecification() throws {
    var tiles = TlogTiles()
    var frontier = MerkleFrontier()
    var paths: [String] = []
    for n in 0..<70_000 {
      let record = Array("\(n)".utf8)
      frontier.count(Merkle.leafHash(record))
      paths += try tiles.append(record).map(\.path)
    }
    let last = tiles.finish()
    #expect(tiles.root == frontier.root && tiles.size == 70_000)
    #expect(paths.count { $0.hasPrefix("tile/0/") } == 273 && paths.count { $0.hasPrefix("tile/entries/") } == 273)
    #expect(paths.count { $0.hasPrefix("tile/1/") } == 1)
    #expect(
      last.map(\.path) == [
        "tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1",
      ])
    #expect(last[3].bytes.count == 32 && last[2].bytes.count == 17 * 32)
  }
}
