/// A request to send.
public struct ClientRequest: Sendable {
  public enum Body: Sendable {
    case none
    case bytes([UInt8])
    /// Pieces until nil; sent chunked.
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
  public var connectTimeout: Duration = .seconds(10)
  /// From start to the last byte; nil: no bound.
  public var totalTimeout: Duration?
  /// Fails when fewer bytes a second came for so long.
  public var lowSpeed: (bytesPerSecond: Int, seconds: Int)? = (1, 60)
  /// A longer response is an error.
  public var maxResponseBytes = 16 << 20

  public init(method: String = "GET", url: String, headers: HTTPHeaders = HTTPHeaders(), body: [UInt8]? = nil) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body.map { .bytes($0) } ?? .none
  }
}

/// A response that is at hand as a whole.
public struct ClientResponse: Sendable {
  public let status: Int
  public let headers: HTTPHeaders
  public let body: [UInt8]
}

/// A response whose body is still arriving. Dropping the iteration ends the transfer.
public struct ClientStream: Sendable, AsyncSequence {
  public typealias Element = [UInt8]
  public let status: Int
  public let headers: HTTPHeaders
  let transfer: Transfer

  public var body: ClientStream { self }

  public final class AsyncIterator: AsyncIteratorProtocol {
    let transfer: Transfer
    var ended = false
    init(_ transfer: Transfer) { self.transfer = transfer }
    public func next() async throws -> [UInt8]? {
      do {
        let piece = try await transfer.nextPiece()
        if piece == nil { ended = true }
        return piece
      } catch {
        ended = true
        throw error
      }
    }
    deinit { if !ended { transfer.cancel() } }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(transfer) }

  /// Ends the transfer.
  public func cancel() { transfer.cancel() }

  /// The whole body. Throws `HTTPClientError` `.tooLarge` past `limit` bytes.
  public func collect(upTo limit: Int) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    for try await piece in self {
      guard bytes.count + piece.count <= limit else {
        throw HTTPClientError(kind: .tooLarge, curlCode: 0, message: "the response is larger than \(limit) bytes")
      }
      bytes += piece
    }
    return bytes
  }
}

/// Why a request did not get its whole answer.
public struct HTTPClientError: Error, Sendable, CustomStringConvertible {
  public enum Kind: Sendable, Equatable { case unreachable, timeout, tls, pinMismatch, tooLarge, cut, cancelled, other }
  public let kind: Kind
  /// libcurl's `CURLcode`, 0 when the reason is ours.
  public let curlCode: Int32
  public let message: String
  public init(kind: Kind, curlCode: Int32, message: String) {
    self.kind = kind
    self.curlCode = curlCode
    self.message = message
  }
  /// Whether the same request may go through later.
  public var retryable: Bool {
    switch kind {
    case .unreachable, .timeout, .cut: true
    case .tls, .pinMismatch, .tooLarge, .cancelled, .other: false
    }
  }
  public var description: String { message }
}
