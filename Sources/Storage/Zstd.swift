internal import CZstd

/// Zstandard frames (RFC 8878), as casync's chunk stores hold them.
public enum Zstd {
  public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
    /// No Zstandard frame, or a damaged or cut one.
    case damaged
    /// More than the allowed number of bytes would come out.
    case tooLarge(limit: Int)
    case outOfMemory

    public var description: String {
      switch self {
      case .damaged: "the compressed data is damaged"
      case .tooLarge(let limit): "the compressed data holds more than \(limit) bytes"
      case .outOfMemory: "no memory for compression"
      }
    }
  }

  /// One frame that holds these bytes. Level 3 is zstd's own default.
  public static func compress(_ bytes: [UInt8], level: Int32 = 3) throws(Failure) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count))
    let count = ZSTD_compress(&output, output.count, bytes, bytes.count, level)
    guard ZSTD_isError(count) == 0 else { throw .outOfMemory }
    output.removeLast(output.count - count)
    return output
  }

  /// What one frame or several in a row hold, never more than `limit` bytes: a small frame that claims to be huge
  /// costs no memory.
  public static func decompress(_ bytes: [UInt8], limit: Int) throws(Failure) -> [UInt8] {
    guard let stream = ZSTD_createDCtx() else { throw .outOfMemory }
    defer { ZSTD_freeDCtx(stream) }
    var output: [UInt8] = []
    output.reserveCapacity(Swift.min(limit, 256 << 10))
    var piece = [UInt8](repeating: 0, count: ZSTD_DStreamOutSize())
    var consumed = 0
    var pending = 1
    while consumed < bytes.count || pending > 0 {
      let before = consumed
      let (hint, wrote) = piece.withUnsafeMutableBytes { out in
        bytes.withUnsafeBytes { source in
          var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: consumed)
          var target = ZSTD_outBuffer(dst: out.baseAddress, size: out.count, pos: 0)
          let hint = ZSTD_decompressStream(stream, &target, &input)
          consumed = input.pos
          return (hint, target.pos)
        }
      }
      guard ZSTD_isError(hint) == 0 else { throw .damaged }
      guard output.count + wrote <= limit else { throw .tooLarge(limit: limit) }
      output += piece[..<wrote]
      pending = hint
      if consumed == before, wrote == 0, pending > 0 { throw .damaged }
      if consumed == bytes.count, pending == 0 { break }
    }
    return output
  }
}
