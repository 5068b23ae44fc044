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
///
/// It is held as the file has it, 40 bytes a chunk: the index of a 20 GiB model is 13 MB, and no more is ever made of it.
public struct ChunkIndex: Hashable, Sendable {
  /// The index as a `.caibx` file, byte for byte as it was read, or as `casync --digest=sha256 make` writes it.
  public let caibx: [UInt8]
  /// How many chunks the file has.
  public let count: Int
  /// The sizes that the chunker was set to, in bytes.
  public let minimum: UInt64
  public let average: UInt64
  public let maximum: UInt64

  /// No chunk that a box must hold in memory is longer, in bytes.
  public static let largestChunk: UInt64 = 16 << 20
  /// No index is longer, in bytes: it lists the chunks of 100 GB.
  public static let largestIndex = 64 << 20

  /// The length of the file, in bytes.
  public var totalLength: UInt64 { count == 0 ? 0 : end(count - 1) }

  /// The chunks in the order of the file, each made when it is asked for.
  public var chunks: Chunks { Chunks(index: self) }

  public struct Chunks: RandomAccessCollection, Hashable, Sendable {
    let index: ChunkIndex
    public var startIndex: Int { 0 }
    public var endIndex: Int { index.count }
    public subscript(number: Int) -> Chunk {
      Chunk(offset: index.offset(number), length: index.length(number), id: index.id(number))
    }
  }

  // MARK: one chunk, by its number from 0

  /// Where it ends in the file.
  public func end(_ number: Int) -> UInt64 { ChunkIndex.number(caibx, Format.itemsStart + number * Format.itemLength) }

  /// Where it begins.
  public func offset(_ number: Int) -> UInt64 { number == 0 ? 0 : end(number - 1) }

  public func length(_ number: Int) -> Int { Int(end(number) - offset(number)) }

  public func id(_ number: Int) -> ChunkID {
    let start = Format.itemsStart + number * Format.itemLength + 8
    guard let id = Digest(bytes: caibx[start..<start + Digest.length]) else {
      preconditionFailure("32 bytes make a digest")
    }
    return id
  }

  /// The first eight bytes of the id, big-endian: ids in this order are in their own.
  public func prefix(_ number: Int) -> UInt64 {
    ChunkIndex.number(caibx, Format.itemsStart + number * Format.itemLength + 8).byteSwapped
  }

  /// Whether the id of one chunk comes before another's.
  public func precedes(_ left: Int, _ right: Int) -> Bool {
    let (one, other) = (start(left), start(right))
    var at = 8
    while at < Format.itemLength {
      let (first, second) = (ChunkIndex.number(caibx, one + at), ChunkIndex.number(caibx, other + at))
      if first != second { return first.byteSwapped < second.byteSwapped }
      at += 8
    }
    return false
  }

  /// Whether two chunks have the same id.
  public func areEqual(_ left: Int, _ right: Int) -> Bool {
    let (one, other) = (start(left), start(right))
    var at = 8
    while at < Format.itemLength {
      if ChunkIndex.number(caibx, one + at) != ChunkIndex.number(caibx, other + at) { return false }
      at += 8
    }
    return true
  }

  /// Where in the file its entry begins.
  private func start(_ number: Int) -> Int { Format.itemsStart + number * Format.itemLength }

  /// Whether a chunk has this id.
  public func isChunk(_ number: Int, _ id: ChunkID) -> Bool {
    let start = Format.itemsStart + number * Format.itemLength + 8
    return caibx[start..<start + Digest.length].elementsEqual(id.bytes)
  }

  // MARK: making

  /// An index of chunks cut with `Chunker`'s sizes, in the order of the file.
  public init(chunks: some Sequence<(length: Int, id: ChunkID)>) {
    var bytes: [UInt8] = []
    func put(_ value: UInt64) { for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) } }
    minimum = UInt64(Chunker.minimum)
    average = UInt64(Chunker.average)
    maximum = UInt64(Chunker.maximum)
    for value in [Format.indexLength, Format.index, Format.flags, minimum, average, maximum] { put(value) }
    for value in [UInt64.max, Format.table] { put(value) }
    var (end, count): (UInt64, Int) = (0, 0)
    for (length, id) in chunks {
      end += UInt64(length)
      count += 1
      put(end)
      bytes += id.bytes
    }
    let tableLength = UInt64(16 + count * Format.itemLength + Format.tailLength)
    for value in [0, 0, Format.indexLength, tableLength, Format.tailMarker] { put(value) }
    caibx = bytes
    self.count = count
  }

  /// Reads a `.caibx` file.
  public init(caibx: [UInt8]) throws(ChunkIndexError) {
    func number(_ at: Int) -> UInt64 { ChunkIndex.number(caibx, at) }
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
    count = items / Format.itemLength
    if let bad = ChunkIndex.firstBad(caibx, count, minimum, maximum) { throw .badChunk(number: bad + 1) }

    let tail = Format.itemsStart + items
    let tableLength = UInt64(16 + items + Format.tailLength)
    guard number(tail) == 0, number(tail + 8) == 0, number(tail + 16) == Format.indexLength,
      number(tail + 24) == tableLength, number(tail + 32) == Format.tailMarker
    else { throw .badTail }
    self.caibx = caibx
  }

  /// The first chunk that is empty, too long, or too short before the last.
  private static func firstBad(_ caibx: [UInt8], _ count: Int, _ minimum: UInt64, _ maximum: UInt64) -> Int? {
    caibx.withUnsafeBytes { bytes in
      var start: UInt64 = 0
      for item in 0..<count {
        let end = UInt64(
          littleEndian: bytes.loadUnaligned(
            fromByteOffset: Format.itemsStart + item * Format.itemLength, as: UInt64.self))
        guard end > start, end - start <= maximum, item == count - 1 || end - start >= minimum else { return item }
        start = end
      }
      return nil
    }
  }

  private static func number(_ bytes: [UInt8], _ at: Int) -> UInt64 {
    bytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: at, as: UInt64.self)) }
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
