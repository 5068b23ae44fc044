import Glibc
import Models
import Storage
import Testing
import Trust

@Suite struct ContentStoreTests {
  let scratch = Scratch()
  /// What of the file needs no bytes: two chunks of the largest length that are nothing but zeros.
  let zeros: UInt64 = 524_288

  /// A file of three megabytes as a publisher stores it: random bytes, a run of zeros, and a repetition.
  private func publish(_ name: String = "model", seed: UInt64 = 1) throws -> (
    ChunkStoreWriter, ChunkStoreWriter.Written, [UInt8]
  ) {
    let part = sampleBytes(600_000, seed: seed)
    let bytes = part + [UInt8](repeating: 0, count: 700_000) + sampleBytes(1_200_000, seed: seed + 1) + part
    unlink(scratch.file(name))
    overwrite(scratch.file(name), with: bytes)
    let writer = try ChunkStoreWriter(root: scratch.file("chunks"))
    return (writer, try writer.write(file: scratch.file(name)), bytes)
  }

  private func fetch(_ assembler: ChunkAssembler, from writer: ChunkStoreWriter, atMost: Int = .max) throws {
    for chunk in assembler.missing.prefix(atMost) {
      try assembler.put(chunk.id, compressed: try #require(try writer.compressed(chunk.id)))
    }
  }

  @Test func aFileGoesThroughChunksAndComesOutTheSame() throws {
    let (writer, written, bytes) = try publish()
    #expect(written.length == UInt64(bytes.count))
    #expect(written.digest == Digest(of: bytes))
    #expect(written.newChunks < written.index.chunks.count)
    let first = written.index.chunks[0].id
    #expect(DurableFile.exists(scratch.file("chunks/\(first.hex.prefix(4))/\(first.hex).cacnk")))
    let store = try ContentStore(root: scratch.file("registry"))
    let index = try store.putIndex(written.indexDigest, written.index.caibx)
    #expect(try store.index(written.indexDigest) == index)
    let assembler = try ChunkAssembler(store: store, index: index, digest: written.digest)
    #expect(assembler.remaining == written.length - zeros)
    try fetch(assembler, from: writer)
    #expect(!store.has(written.digest))
    #expect(try assembler.finish() == store.blobPath(written.digest))
    #expect(contents(store.blobPath(written.digest)) == bytes)
    #expect(try store.verify(written.digest))
    #expect(try store.blobs() == [written.digest])
    #expect(!DurableFile.exists(store.partialPath(written.digest)))
    #expect(mode(store.blobPath(written.digest)) == 0o600)
  }

  @Test func publishingAgainAddsNothing() throws {
    _ = try publish()
    #expect(try publish().1.newChunks == 0)
  }

  @Test func aDamagedChunkInTheStoreIsWrittenAnew() throws {
    let (writer, written, _) = try publish()
    let id = written.index.chunks[3].id
    overwrite(writer.path(of: id), at: 100, with: [1, 2, 3, 4, 5])
    #expect(try writer.chunk(id) == nil)
    #expect(try publish().1.newChunks == 1)
    #expect(try writer.chunk(id) != nil)
  }

  @Test func aDownloadGoesOnWhereItStopped() throws {
    let (writer, written, bytes) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    var left: UInt64 = 0
    do {
      let assembler = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
      try fetch(assembler, from: writer, atMost: 7)
      left = assembler.remaining
      #expect(throws: StorageError.self) { try assembler.finish() }
    }
    #expect(left < written.length)
    // What a crash may leave: a chunk that is half there.
    let torn = written.index.chunks[2]
    overwrite(store.partialPath(written.digest), at: Int(torn.offset) + 10, with: [0, 0, 0])
    let second = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    // Nothing is read again to go on: the claim is believed until the whole file's digest says otherwise.
    #expect(second.remaining == left)
    try fetch(second, from: writer)
    #expect(contents(try second.finish()) == bytes)
  }

  @Test func aFalseClaimIsFoundAndCostsItsChunk() throws {
    let (writer, written, bytes) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    try fetch(try ChunkAssembler(store: store, index: written.index, digest: written.digest), from: writer, atMost: 20)
    let partial = store.partialPath(written.digest)
    // One that stands in the file once, so that it can't be copied from elsewhere in it.
    let alone = try #require(
      written.index.chunks.first { chunk in
        chunk.offset > 1_400_000 && written.index.chunks.count { $0.id == chunk.id } == 1
      })
    let second = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    try fetch(second, from: writer)
    overwrite(partial, at: Int(alone.offset) + 10, with: [1, 2, 3, 4])
    let third = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    #expect(third.remaining == 0)
    #expect(throws: StorageError.self) { try third.finish() }
    #expect(third.missing.map(\.id) == [alone.id])
    try fetch(third, from: writer)
    #expect(contents(try third.finish()) == bytes)
    #expect(try DurableFile.names(in: store.root + "/partial").isEmpty)
  }

  @Test func claimsOfAnotherIndexOrAnotherBootAreNotBelieved() throws {
    let (writer, written, bytes) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    try fetch(try ChunkAssembler(store: store, index: written.index, digest: written.digest), from: writer, atMost: 9)
    let claims = store.partialPath(written.digest) + ".claims"
    let torn = written.index.chunks[2]
    overwrite(store.partialPath(written.digest), at: Int(torn.offset) + 10, with: [9, 9, 9])
    // The boot's id stands after the index's digest.
    overwrite(claims, at: 90, with: Array("another".utf8))
    let second = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    // It was torn in one of the two places where it stands: it is copied from the other.
    #expect(!second.missing.contains { $0.id == torn.id })
    try fetch(second, from: writer)
    #expect(contents(try second.finish()) == bytes)
    for damage in [[], [1, 2, 3], [UInt8](repeating: 1, count: 5_000)] as [[UInt8]] {
      unlink(store.blobPath(written.digest))
      unlink(claims)
      overwrite(claims, with: damage)
      let again = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
      #expect(again.remaining == written.length - zeros)
      try fetch(again, from: writer)
      #expect(contents(try again.finish()) == bytes)
    }
  }

  @Test func aWholeFileGoesOnAtItsEnd() throws {
    let bytes = sampleBytes(700_000, seed: 3)
    let digest = Digest(of: bytes)
    let store = try ContentStore(root: scratch.file("registry"))
    try WholeFileAssembler(store: store, digest: digest, length: 700_000).append(Array(bytes[..<300_000]))
    let second = try WholeFileAssembler(store: store, digest: digest, length: 700_000)
    #expect(try second.here() == 300_000)
    #expect(throws: StorageError.self) { try second.finish() }
    #expect(throws: StorageError.self) { try second.append([UInt8](repeating: 0, count: 400_001)) }
    try second.append(Array(bytes[300_000...]))
    #expect(contents(try second.finish()) == bytes)
    // Gathered by chunks it has holes, and is begun anew.
    let (writer, written, _) = try publish()
    try fetch(try ChunkAssembler(store: store, index: written.index, digest: written.digest), from: writer, atMost: 5)
    let whole = try WholeFileAssembler(store: store, digest: written.digest, length: written.length)
    #expect(try whole.here() == 0)
    try whole.append([UInt8](repeating: 7, count: Int(written.length)))
    #expect(throws: StorageError.wrongDigest(path: store.partialPath(written.digest))) { try whole.finish() }
    #expect(try DurableFile.names(in: store.root + "/partial").isEmpty)
  }

  @Test func aHugeIndexTakesLittleMemory() throws {
    // 20 GiB in 330,000 chunks, each another: what the process grows by is the index, twice while it is made, and a few
    // bytes for each chunk.
    let count = 330_000
    let store = try ContentStore(root: scratch.file("registry"))
    let index = ChunkIndex(
      chunks: (0..<count).lazy.map { number in
        let id = (0..<4).flatMap { part in splitMix(UInt64(number * 4 + part)) }
        return (length: 65_536, id: Digest(bytes: id) ?? Digest(of: [0]))
      })
    let before = resident()
    let assembler = try ChunkAssembler(store: store, index: index, digest: Digest(of: [1]))
    #expect(assembler.missingNumbers.count == count)
    let id = index.id(123_456)
    #expect(throws: StorageError.self) { try assembler.put(id, [1, 2, 3]) }
    let grown = resident() - before
    #expect(grown < 40 << 20, "grew by \(grown >> 20) MiB")
  }

  private func splitMix(_ seed: UInt64) -> [UInt8] {
    var mixed = seed &* 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed ^= mixed >> 27
    return (0..<8).map { UInt8(truncatingIfNeeded: mixed >> (8 * UInt64($0))) }
  }

  private func resident() -> Int {
    let fields = (contents("/proc/self/statm") ?? []).split(separator: 0x20)
    return (Int(String(decoding: fields[1], as: UTF8.self)) ?? 0) * 4096
  }

  @Test func aFlippedBitCostsOneChunk() throws {
    let (writer, written, bytes) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    let assembler = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    try fetch(assembler, from: writer)
    let path = try assembler.finish()
    overwrite(path, at: 1_500_000, with: [bytes[1_500_000] ^ 1])
    #expect(try !store.verify(written.digest))
    #expect(try store.missingChunks(of: written.index, digest: written.digest).count == 1)
    try store.demote(written.digest)
    #expect(!store.has(written.digest))
    let mending = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    #expect(mending.missing.count == 1)
    try fetch(mending, from: writer)
    _ = try mending.finish()
    #expect(try store.verify(written.digest))
  }

  @Test func aWrongChunkLeavesNoTrace() throws {
    let (writer, written, _) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    let assembler = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    let chunk = assembler.missing[0]
    let other = try #require(try writer.compressed(assembler.missing[1].id))
    let wrong = StorageError.wrongDigest(path: ChunkStoreWriter.relativePath(of: chunk.id))
    #expect(throws: wrong) { try assembler.put(chunk.id, compressed: other) }
    #expect(throws: wrong) { try assembler.put(chunk.id, compressed: [1, 2, 3]) }
    let cut = try #require(try writer.compressed(chunk.id)).dropLast(9)
    #expect(throws: wrong) { try assembler.put(chunk.id, compressed: Array(cut)) }
    let bomb = try Zstd.compress([UInt8](repeating: 0, count: 32 << 20))
    #expect(throws: wrong) { try assembler.put(chunk.id, compressed: bomb) }
    #expect(assembler.remaining == written.length - zeros)
    #expect(throws: StorageError.self) { try writer.put(chunk.id, compressed: other) }
  }

  @Test func chunksOfAnOlderVersionAreReused() throws {
    let (writer, old, bytes) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    let first = try ChunkAssembler(store: store, index: old.index, digest: old.digest)
    try fetch(first, from: writer)
    let oldPath = try first.finish()
    overwrite(scratch.file("next"), with: Array(bytes[..<500_000]) + [1, 2, 3] + Array(bytes[500_000...]))
    let next = try writer.write(file: scratch.file("next"))
    for index in [old.index, nil] {
      let assembler = try ChunkAssembler(store: store, index: next.index, digest: next.digest)
      let reused = try assembler.seed(from: oldPath, index: index)
      #expect(reused > (next.length - zeros) * 8 / 10)
      #expect(assembler.remaining + reused == next.length - zeros)
      try fetch(assembler, from: writer)
      _ = try assembler.finish()
      try store.remove(next.digest)
    }
  }

  @Test func rightChunksOfTheWrongFileAreRefused() throws {
    let (writer, written, _) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    let other = Digest(of: [1])
    let assembler = try ChunkAssembler(store: store, index: written.index, digest: other)
    try fetch(assembler, from: writer)
    #expect(throws: StorageError.wrongDigest(path: store.partialPath(other))) { try assembler.finish() }
    #expect(!store.has(other))
    #expect(!DurableFile.exists(store.partialPath(other)))
  }

  @Test func aWrongIndexIsRefused() throws {
    let (_, written, _) = try publish()
    let store = try ContentStore(root: scratch.file("registry"))
    #expect(throws: StorageError.self) { try store.putIndex(Digest(of: [1]), written.index.caibx) }
    _ = try store.putIndex(written.indexDigest, written.index.caibx)
    overwrite(store.indexPath(written.indexDigest), at: 80, with: [9, 9])
    #expect(try store.index(written.indexDigest) == nil)
    #expect(try store.index(Digest(of: [1])) == nil)
  }

  @Test(.enabled(if: SmallDisk.isPossible)) func aDiskTooSmallIsToldBeforehand() throws {
    let (_, written, _) = try publish()
    let disk = try SmallDisk(bytes: 1 << 20)
    let store = try ContentStore(root: disk.path)
    #expect(throws: StorageError.full(path: store.partialPath(written.digest))) {
      try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    }
  }

  @Test func anEmptyFileHasNoChunks() throws {
    overwrite(scratch.file("empty"), with: [])
    let writer = try ChunkStoreWriter(root: scratch.file("chunks"))
    let written = try writer.write(file: scratch.file("empty"))
    #expect(written.index.chunks.isEmpty)
    let store = try ContentStore(root: scratch.file("registry"))
    let assembler = try ChunkAssembler(store: store, index: written.index, digest: written.digest)
    #expect(contents(try assembler.finish()) == [])
  }
}

@Suite struct ZstdTests {
  @Test(arguments: [0, 1, 1000, 300_000]) func bytesComeBack(count: Int) throws {
    let bytes = sampleBytes(count)
    let packed = try Zstd.compress(bytes)
    #expect(packed.starts(with: [0x28, 0xB5, 0x2F, 0xFD]))
    #expect(try Zstd.decompress(packed, limit: count) == bytes)
  }

  @Test func aFrameMayNotExceedItsLimit() throws {
    let packed = try Zstd.compress([UInt8](repeating: 7, count: 5000))
    #expect(throws: Zstd.Failure.tooLarge(limit: 4999)) { try Zstd.decompress(packed, limit: 4999) }
  }

  @Test func damageIsDamage() throws {
    let packed = try Zstd.compress(sampleBytes(5000))
    #expect(throws: Zstd.Failure.damaged) { try Zstd.decompress(Array(packed.dropLast()), limit: 5000) }
    #expect(throws: Zstd.Failure.damaged) { try Zstd.decompress([], limit: 5000) }
    #expect(throws: Zstd.Failure.damaged) { try Zstd.decompress(sampleBytes(100), limit: 5000) }
  }
}
