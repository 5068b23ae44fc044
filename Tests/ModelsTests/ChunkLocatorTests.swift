import Testing
import Trust

@testable import Models

@Suite struct ChunkLocatorTests {
  @Test func findsEachChunkWhereTheIndexHasIt() {
    var lengths: [(length: Int, id: ChunkID)] = []
    for number in 0..<3000 {
      // Every tenth is the same piece again.
      let name = number % 10 == 9 ? "same" : "\(number)"
      lengths.append((number % 10 == 9 ? 20_000 : 16_384 + number, Digest(of: Array(name.utf8))))
    }
    let index = ChunkIndex(chunks: lengths)
    let locator = ChunkLocator(index)
    #expect(locator.count == 3000)
    for (number, chunk) in index.chunks.enumerated() {
      let place = locator.place(of: chunk.id)
      let first = number % 10 == 9 ? 9 : number
      #expect(place?.number == first)
      #expect(place?.offset == index.chunks[first].offset)
      #expect(place?.length == chunk.length)
    }
    #expect(locator.place(of: Digest(of: Array("other".utf8))) == nil)
    #expect(ChunkLocator(ChunkIndex(chunks: [])).place(of: Digest(of: [])) == nil)
  }
}
