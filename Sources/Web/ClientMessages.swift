/// A request to send.
public struct ClientRequest: Sendable {
  public enum Body: Sendable {
    case none
    case bytes([UInt8])
    /// Pieces until nil, asked for as the peer takes them; sent chunked unless the headers hold a Content-Length.
    case stream(@Sendable () async throws -> [UInt8]?)
  }

  public var method: String
  public var url: String
  public var headers: HTTPHeaders
  public var body: Body
  /// Goes through this Unix socket; the URL's host is then only a name.
  public var unixSocket: String?
  /// `sha256//BASE64` of the server's public key: the server is who holds that key, whoever signed its certificate.
  /// Nil: the system's trusted authorities.
  public var pin: String?
  /// Certificates (PEM) that the server's must lead to, in place of the system's.
  public var caFile: String?
  /// Signs the request. The query must be in order and percent-encoded, and `X-Amz-Content-Sha256` among the headers.
  public var aws: AWSCredentials?
  public var connectTimeout: Duration = .seconds(10)
  /// From start to the last byte; nil: no bound.
  public var totalTimeout: Duration?
  /// Fails when fewer bytes a second came for so long; nil: no bound. Time in which our own side holds the transfer back
  /// does not count.
  public var lowSpeed: (bytesPerSecond: Int, seconds: Int)? = (1, 60)
  /// Bytes of the answer's body; a longer one ends with `.tooLarge`.
  public var maxResponseBytes = 16 << 20
  /// Nil: as fast as the line.
  public var pace: Pace?

  /// How fast an answer's body may come, over all requests that share it.
  public struct Pace: Sendable {
    /// The longest piece that is taken at a time, in bytes: smaller ones come more evenly.
    public let grain: Int
    /// Asked before each piece, on the client's own thread: nil takes it; else how long later to ask again.
    public let take: @Sendable (_ bytes: Int) -> Duration?

    public init(grain: Int = 64 << 10, take: @escaping @Sendable (_ bytes: Int) -> Duration?) {
      self.grain = grain
      self.take = take
    }
  }

  public init(method: String = "GET", url: String, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8]? = nil) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body.map { .bytes($0) } ?? .none
  }

  public init(method: String, url: String, headers: HTTPHeaders = HTTPHeaders(), body: Body) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
  }
}

/// A response that is at hand as a whole.
public struct ClientResponse: Sendable {
  public let status: Int
  public let headers: HTTPHeaders
  public let body: [UInt8]

  public init(status: Int, headers: HTTPHeaders, body: [UInt8]) {
    self.status = status
    self.headers = headers
    self.body = body
  }
}

/// A response whose body is still arriving: its pieces as they come, for one reader. A reader that does not keep up makes
/// the peer wait; at most 256 KiB are held. Dropping it ends the transfer. Throws `HTTPClientError`.
public struct ClientStream: Sendable, AsyncSequence {
  public typealias Element = [UInt8]
  public let status: Int
  public let headers: HTTPHeaders
  let hold: TransferHold

  public var body: ClientStream { self }

  public final class AsyncIterator: AsyncIteratorProtocol {
    private let hold: TransferHold
    init(hold: TransferHold) { self.hold = hold }
    public func next() async throws -> [UInt8]? { try await hold.transfer.nextPiece() }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(hold: hold) }

  /// Ends the transfer.
  public func cancel() { hold.transfer.cancel() }

  /// The whole body. Throws `HTTPClientError` `.tooLarge` past `limit` bytes.
  public func collect(upTo limit: Int) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    for try await piece in self {
      guard bytes.count + piece.count <= limit else {
        cancel()
        throw HTTPClientError.tooLarge(limit)
      }
      bytes += piece
    }
    return bytes
  }
}

/// Ends the transfer when nobody can read it any more; until then the client lives.
final class TransferHold: Sendable {
  let transfer: Transfer
  private let client: HTTPClient
  init(_ transfer: Transfer, client: HTTPClient) {
    self.transfer = transfer
    self.client = client
  }
  deinit { transfer.cancel() }
}
