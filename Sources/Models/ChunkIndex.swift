import Trust

/// A chunk is named by the SHA-256 of its uncompressed bytes.
public typealias ChunkID = Digest

/// A run of a file's bytes.
public struct Chunk: Hashable, Sendable {
  /// Where it begins in the file, in bytes.
  public let offset: UInt64
  /// Its length in bytes, uncompressed.
  public let length: Int
  public let id: ChunkID

  public init(offset: UInt64, length: Int, id: ChunkID) {
    self.offset = offset
    self.length = length
    self.id = id
  }

  /// Where it ends in the file.
  public var end: UInt64 { offset + UInt64(length) }
}

/// Why bytes are no chunk index that Skerry takes.
public enum ChunkIndexError: Error, Equatable, CustomStringConvertible {
  case truncated
  case notAnIndex
  /// Chunks named by SHA-512/256, casync's other digest.
  case wrongDigest
  /// Chunk sizes that contradict each other or exceed `ChunkIndex.largestChunk`.
  case badChunkSizes
  /// An entry's length is zero, too long, or too short before the last.
  case badChunk(number: Int)
  case badTail

  public var description: String {
    switch self {
    case .truncated: "the chunk index is cut short"
    case .notAnIndex: "this is no casync chunk index (.caibx)"
    case .wrongDigest: "the chunk index names its chunks by SHA-512/256; make it with --digest=sha256"
    case .badChunkSizes: "the chunk index has chunk sizes that cannot be right"
    case .badChunk(let number): "the chunk index has a chunk of an impossible length (number \(number))"
    case .badTail: "the chunk index does not end as an index must"
    }
  }
}

/// The list of a file's chunks, in casync's `.caibx` format: a `CA_FORMAT_INDEX` record with the chunk sizes, a
/// `CA_FORMAT_TABLE` of end offsets and chunk ids, and a tail. All numbers are little-endian and 64 bits wide.
public struct ChunkIndex: Hashable, Sendable {
  public let chunks: [Chunk]
  /// The sizes that the chunker was set to, in bytes.
  public let minimum: UInt64
  public let average: UInt64
  public let maximum: UInt64

  /// No chunk that a box must hold in memory is longer, in bytes.
  public static let largestChunk: UInt64 = 16 << 20

  /// The length of the file, in bytes.
  public var totalLength: UInt64 { chunks.last?.end ?? 0 }

  /// An index of chunks cut with `Chunker`'s sizes, in the order of the file.
  public init(chunks: some Sequence<(length: Int, id: ChunkID)>) {
    var offset: UInt64 = 0
    self.chunks = chunks.map { length, id in
      defer { offset += UInt64(length) }
      return Chunk(offset: offset, length: length, id: id)
    }
    minimum = UInt64(Chunker.minimum)
    average = UInt64(Chunker.average)
    maximum = UInt64(Chunker.maximum)
  }

  /// Reads a `.caibx` file.
  public init(caibx: [UInt8]) throws(ChunkIndexError) {
    func number(_ at: Int) -> UInt64 {
      (0..<8).reversed().reduce(0) { $0 << 8 | UInt64(caibx[at + $1]) }
    }
    guard caibx.count >= 16 else { throw .truncated }
    guard number(0) == Format.indexLength, number(8) == Format.index else { throw .notAnIndex }
    guard caibx.count >= Format.emptyLength else { throw .truncated }
    guard number(16) & Format.sha512Flag == 0 else { throw .wrongDigest }
    (minimum, average, maximum) = (number(24), number(32), number(40))
    guard minimum > 0, minimum <= average, average <= maximum, maximum <= ChunkIndex.largestChunk else {
      throw .badChunkSizes
    }
    guard number(48) == UInt64.max, number(56) == Format.table else { throw .notAnIndex }

    let items = caibx.count - Format.emptyLength
    guard items.isMultiple(of: Format.itemLength) else { throw .truncated }
    var chunks: [Chunk] = []
    chunks.reserveCapacity(items / Format.itemLength)
    var start: UInt64 = 0
    for at in stride(from: Format.itemsStart, to: Format.itemsStart + items, by: Format.itemLength) {
      let end = number(at)
      let isLast = at + Format.itemLength == Format.itemsStart + items
      guard end > start, end - start <= maximum, isLast || end - start >= minimum,
        let id = Digest(bytes: caibx[at + 8..<at + Format.itemLength])
      else { throw .badChunk(number: chunks.count + 1) }
      chunks.append(Chunk(offset: start, length: Int(end - start), id: id))
      start = end
    }
    self.chunks = chunks

    let tail = Format.itemsStart + items
    let tableLength = UInt64(16 + items + Format.tailLength)
    guard number(tail) == 0, number(tail + 8) == 0, number(tail + 16) == Format.indexLength,
      number(tail + 24) == tableLength, number(tail + 32) == Format.tailMarker
    else { throw .badTail }
  }

  /// The index as a `.caibx` file, byte for byte as `casync --digest=sha256 make` writes it.
  public var caibx: [UInt8] {
    var bytes: [UInt8] = []
    func put(_ value: UInt64) { for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) } }
    for value in [Format.indexLength, Format.index, Format.flags, minimum, average, maximum] { put(value) }
    for value in [UInt64.max, Format.table] { put(value) }
    for chunk in chunks {
      put(chunk.end)
      bytes += chunk.id.bytes
    }
    let tableLength = UInt64(16 + chunks.count * Format.itemLength + Format.tailLength)
    for value in [0, 0, Format.indexLength, tableLength, Format.tailMarker] { put(value) }
    return bytes
  }

  private enum Format {
    static let index: UInt64 = 0x9682_4d9c_7b12_9ff9
    static let table: UInt64 = 0xe75b_9e11_2f17_417d
    static let tailMarker: UInt64 = 0x4b4f_050e_5549_ecd1
    /// CA_FORMAT_EXCLUDE_NODUMP and CA_FORMAT_EXCLUDE_SUBMOUNTS, as casync sets them.
    static let flags: UInt64 = 0x9000_0000_0000_0000
    static let sha512Flag: UInt64 = 0x2000_0000_0000_0000
    static let indexLength: UInt64 = 48
    static let itemsStart = 64
    static let itemLength = 40
    static let tailLength = 40
    static let emptyLength = 104
  }
}
