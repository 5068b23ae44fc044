import Models
import Testing
import Trust

/// Digests of the `.caibx` files that casync 2 wrote with `casync --digest=sha256 make` for the same bytes.
@Suite struct ChunkerTests {
  @Test(arguments: [
    (Sample.empty, "23d3ac4d6da8a2010c1888dce9023362b2220e29420cb3a1e8929e87453406f5"),
    (.short, "940df4b20f877e631ffdfeee57ea1127d600c54f1d49a25166e767dfa9e5f9b0"),
    (.minimum, "b3f6652f4172a521d230030015cdc5aa3b1b7f1882f45e1ed03d526b7e5236b7"),
    (.random, "b8b7fa6c888f54aff015625891c03fd9a3ca21bb39c8e4c536b27081aa7095d6"),
    (.zeros, "be885ccaf4388068477cc2d4e99a2369ac76bc500b3ad3765117257527b97aba"),
    (.mixed, "6cd16a162da949fb01d68bd09eb8cd8be10de28c99cb20a01a57d30d94e4885f"),
  ])
  func cutsAndIndexesAsCasync(sample: Sample, caibx: String) throws {
    let index = index(of: sample.bytes, pieces: 65_537)
    #expect(Digest(of: index.caibx).hex == caibx)
    #expect(try ChunkIndex(caibx: index.caibx) == index)
  }

  @Test func piecesDoNotMoveCuts() {
    let bytes = Sample.mixed.bytes
    let whole = index(of: bytes, pieces: bytes.count)
    #expect(index(of: bytes, pieces: 7_919) == whole)
    #expect(index(of: bytes, pieces: 16_383) == whole)
    #expect(whole.totalLength == UInt64(bytes.count))
  }

  @Test func anInsertionLeavesLaterChunksAlone() {
    let bytes = Sample.random.bytes
    let before = Set(index(of: bytes, pieces: 1 << 20).chunks.map(\.id))
    let changed = Array(bytes[..<500_000]) + [1, 2, 3] + Array(bytes[500_000...])
    let after = index(of: changed, pieces: 1 << 20).chunks.map(\.id)
    #expect(after.filter { !before.contains($0) }.count <= 3)
  }
}

/// Cuts and digests bytes given in pieces, as a publisher does with a file.
func index(of bytes: [UInt8], pieces: Int) -> ChunkIndex {
  var chunker = Chunker()
  var ends: [UInt64] = []
  for at in stride(from: 0, to: bytes.count, by: max(pieces, 1)) {
    ends += chunker.push(bytes[at..<min(at + pieces, bytes.count)])
  }
  if let last = chunker.finish() { ends.append(last) }
  var start = 0
  return ChunkIndex(
    chunks: ends.map { end in
      defer { start = Int(end) }
      return (Int(end) - start, Digest(of: bytes[start..<Int(end)]))
    })
}

enum Sample: Sendable {
  case empty, short, minimum, random, zeros, mixed

  var bytes: [UInt8] {
    switch self {
    case .empty: []
    case .short: splitMix(1, 100)
    case .minimum: splitMix(2, 16_384)
    case .random: splitMix(3, 3_000_000)
    case .zeros: [UInt8](repeating: 0, count: 1_000_000)
    case .mixed:
      splitMix(4, 300_000) + [UInt8](repeating: 0, count: 400_000) + splitMix(4, 300_000) + splitMix(5, 47)
    }
  }
}

/// Reproducible noise: the SplitMix64 generator, little-endian.
func splitMix(_ seed: UInt64, _ count: Int) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count + 8)
  var state = seed
  while bytes.count < count {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    mixed ^= mixed >> 31
    for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: mixed >> (8 * UInt64(shift)))) }
  }
  return Array(bytes.prefix(count))
}
