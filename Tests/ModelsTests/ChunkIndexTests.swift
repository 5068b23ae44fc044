import Models
import Testing
import Trust

@Suite struct ChunkIndexTests {
  private let good = ChunkIndex(
    chunks: [20_000, 262_144, 5].map { ($0, Digest(of: [UInt8(truncatingIfNeeded: $0)])) }
  ).caibx

  private func error(_ bytes: [UInt8]) -> ChunkIndexError? {
    do {
      _ = try ChunkIndex(caibx: bytes)
      return nil
    } catch {
      return error
    }
  }

  private func changed(_ at: Int, _ values: [UInt8]) -> [UInt8] {
    var bytes = good
    for (offset, value) in values.enumerated() { bytes[at + offset] = value }
    return bytes
  }

  @Test func readsWhatItWrote() throws {
    let index = try ChunkIndex(caibx: good)
    #expect(index.chunks.map(\.length) == [20_000, 262_144, 5])
    #expect(index.chunks.map(\.offset) == [0, 20_000, 282_144])
    #expect(index.totalLength == 282_149)
    #expect(index.caibx == good)
  }

  @Test func everyCutIsRefused() {
    for length in 0..<good.count { #expect(error(Array(good.prefix(length))) != nil, "cut to \(length)") }
    #expect(error(good + [0]) != nil)
  }

  @Test func refusesForeignFiles() {
    #expect(error(changed(8, [0])) == .notAnIndex)
    #expect(error(changed(56, [0])) == .notAnIndex)
    #expect(error([UInt8](repeating: 0x41, count: 500)) == .notAnIndex)
    #expect(error(changed(23, [0xB0])) == .wrongDigest)
  }

  @Test func refusesImpossibleSizes() {
    #expect(error(changed(24, [0, 0, 0])) == .badChunkSizes)  // minimum 0
    #expect(error(changed(40, [0, 0, 0])) == .badChunkSizes)  // maximum 0
    #expect(error(changed(40, [UInt8](repeating: 0xFF, count: 8))) == .badChunkSizes)
  }

  @Test func refusesImpossibleChunks() {
    #expect(error(changed(64, [0, 0, 0])) == .badChunk(number: 1))  // empty
    #expect(error(changed(64, [1, 0, 0])) == .badChunk(number: 1))  // shorter than the minimum
    #expect(error(changed(104, [UInt8](repeating: 0xFF, count: 8))) == .badChunk(number: 2))
    #expect(error(changed(144, [0, 0, 0])) == .badChunk(number: 3))  // goes backwards
  }

  @Test func refusesABrokenTail() {
    let tail = good.count - 40
    for at in [tail, tail + 8, tail + 16, tail + 24, tail + 32] {
      #expect(error(changed(at, [0xEE])) == .badTail)
    }
  }
}
