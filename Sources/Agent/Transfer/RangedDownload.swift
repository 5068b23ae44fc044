import Trust
import Web

/// A file of a web server, from some byte to its end, in ranges (RFC 9110 §14) of 256 KiB: when the line breaks no more
/// than that was under way. A server without ranges answers with the whole file: then the beginning, which is here
/// already, is read and dropped.
struct RangedDownload: Sendable {
  /// Bytes asked for at a time.
  static let piece: UInt64 = 256 << 10

  /// The file's length, in bytes.
  let length: UInt64
  /// Sends a GET with these headers; the answer's body is still to come. The number says how many bytes are asked for; nil:
  /// the whole file, however long it takes.
  let open: @Sendable (HTTPHeaders, Int?) async throws -> ClientStream
  /// What an answer of another status means.
  let refusal: @Sendable (ClientResponse) -> any Error
  /// What an answer that makes no sense means.
  let nonsense: @Sendable (String) -> any Error

  func run(from start: UInt64, take: @Sendable ([UInt8]) async throws -> Void) async throws {
    var at = start
    while at < length {
      let end = min(at + RangedDownload.piece, length)
      var headers = HTTPHeaders()
      headers.set("range", "bytes=\(at)-\(end - 1)")
      let answer = try await open(headers, Int(end - at))
      switch answer.status {
      case 206:
        guard answer.headers["Content-Range"]?.hasPrefix("bytes \(at)-\(end - 1)/") == true else {
          answer.cancel()
          throw nonsense("another range came than was asked for")
        }
        let bytes = try await answer.collect(upTo: Int(end - at))
        guard UInt64(bytes.count) == end - at else { throw nonsense("the range came cut short") }
        try await take(bytes)
        at = end
      case 200:
        answer.cancel()
        return try await whole(open(HTTPHeaders(), nil), from: at, take: take)
      default:
        let body = try await answer.collect(upTo: 64 << 10)
        throw refusal(ClientResponse(status: answer.status, headers: answer.headers, body: body))
      }
    }
  }

  private func whole(
    _ answer: ClientStream, from start: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    guard answer.status == 200 else { throw nonsense("it comes once and not again") }
    var skip = start
    for try await piece in answer {
      let dropped = Int(min(skip, UInt64(piece.count)))
      skip -= UInt64(dropped)
      if dropped < piece.count { try await take(dropped == 0 ? piece : Array(piece[dropped...])) }
    }
  }
}
