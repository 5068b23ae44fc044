/// Cuts a stream into chunks where its content says so: casync's buzhash over a window of 48 bytes, with the same
/// table, sizes and cut rule, so that cut points equal `casync make`'s and chunks are shared with it.
public struct Chunker: Sendable {
  /// The shortest chunk but the last, in bytes.
  public static let minimum = 16 * 1024
  /// The length that chunks are aimed at, in bytes.
  public static let average = 64 * 1024
  /// The longest chunk, in bytes.
  public static let maximum = 256 * 1024

  private static let window = 48
  /// average / (-1.42888852e-7 * average + 1.33237515): the divisor that makes chunks come out at the average.
  private static let discriminator: UInt32 = 49535

  private var hash: UInt32 = 0
  private var length = 0
  private var recent = [UInt8](repeating: 0, count: Chunker.window)
  private var total: UInt64 = 0

  public init() {}

  /// Takes the next bytes; returns where chunks end among them, counted from the start of the stream.
  public mutating func push(_ bytes: some Sequence<UInt8>) -> [UInt64] {
    if let ends = bytes.withContiguousStorageIfAvailable({ push(buffer: UnsafeRawBufferPointer($0)) }) { return ends }
    return Array(bytes).withUnsafeBytes { push(buffer: $0) }
  }

  /// How many bytes lie between the last cut and the end of what was pushed.
  public var pending: Int { length }

  /// The next chunk is `maximum` zeros: zeros alone are never cut before that. Only right after a cut.
  public mutating func passZeros() {
    precondition(length == 0, "zeros are passed only right after a cut")
    total += UInt64(Chunker.maximum)
  }

  /// Ends the stream; returns where the last chunk ends, or nil when it ended with a cut or is empty.
  public mutating func finish() -> UInt64? {
    guard length > 0 else { return nil }
    startChunk()
    return total
  }

  private mutating func startChunk() {
    hash = 0
    length = 0
  }

  private mutating func push(buffer: UnsafeRawBufferPointer) -> [UInt64] {
    var ends: [UInt64] = []
    var at = 0
    while at < buffer.count {
      // A cut before the minimum is impossible and the hash knows only its window, so begin a window before it.
      if length < Chunker.minimum - Chunker.window {
        let skipped = min(Chunker.minimum - Chunker.window - length, buffer.count - at)
        length += skipped
        at += skipped
        continue
      }
      at = roll(buffer, from: at)
      if length >= Chunker.minimum, isCut {
        ends.append(total + UInt64(at))
        startChunk()
      }
    }
    total += UInt64(buffer.count)
    return ends
  }

  private var isCut: Bool {
    length >= Chunker.maximum || hash % Chunker.discriminator == Chunker.discriminator - 1
  }

  /// Rolls the hash on until a cut or the end; returns the position reached.
  private mutating func roll(_ buffer: UnsafeRawBufferPointer, from start: Int) -> Int {
    var at = start
    var hash = self.hash
    var length = self.length
    let first = Chunker.minimum - Chunker.window
    buzhashTable.withUnsafeBufferPointer { table in
      recent.withUnsafeMutableBufferPointer { recent in
        var slot = (length - first) % Chunker.window
        while at < buffer.count {
          let byte = buffer[at]
          hash = (hash << 1 | hash >> 31) ^ table[Int(byte)]
          if length >= Chunker.minimum {
            let leaving = table[Int(recent[slot])]
            hash ^= leaving << 16 | leaving >> 16  // rotated by the window, 48 mod 32
          }
          recent[slot] = byte
          slot = slot + 1 == Chunker.window ? 0 : slot + 1
          at += 1
          length += 1
          if length >= Chunker.minimum,
            length >= Chunker.maximum || hash % Chunker.discriminator == Chunker.discriminator - 1
          {
            break
          }
        }
      }
    }
    self.hash = hash
    self.length = length
    return at
  }
}
