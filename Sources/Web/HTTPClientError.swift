internal import CCurl

/// Why a request did not get its whole answer.
public struct HTTPClientError: Error, Sendable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable {
    /// No connection: no such name, nobody listening, no route.
    case unreachable
    /// The connect, total or low-speed limit.
    case timeout
    /// The handshake failed, or the system does not trust the server.
    case tls
    /// The server's key is not the pinned one.
    case pinMismatch
    /// The answer is larger than the request allows.
    case tooLarge
    /// The connection ended in the middle.
    case cut
    /// The task was cancelled or the client closed.
    case cancelled
    case other
  }

  public let kind: Kind
  /// libcurl's `CURLcode`, 0 when the reason is ours.
  public let curlCode: Int32
  /// libcurl's words, which may name the address but never headers or bodies.
  public let message: String
  /// A `.timeout` although bytes kept coming to the end: the peer is slow, not gone.
  public internal(set) var isTrickle = false

  public init(kind: Kind, curlCode: Int32 = 0, message: String) {
    self.kind = kind
    self.curlCode = curlCode
    self.message = message
  }

  /// Whether the same request may go through later, unchanged.
  public var retryable: Bool {
    switch kind {
    case .unreachable, .timeout, .cut: true
    // A handshake that broke off may be the network's fault; a certificate or key that does not fit is not.
    case .tls: curlCode == Int32(CURLE_SSL_CONNECT_ERROR.rawValue)
    case .pinMismatch, .tooLarge, .cancelled, .other: false
    }
  }

  public var description: String { message }

  static let cancelled = HTTPClientError(kind: .cancelled, message: "the request was cancelled")
  static let closed = HTTPClientError(kind: .cancelled, message: "the HTTP client is closed")
  static let headless = HTTPClientError(kind: .cut, message: "the connection ended before the answer's head")

  static func tooLarge(_ limit: Int) -> HTTPClientError {
    HTTPClientError(
      kind: .tooLarge, curlCode: Int32(CURLE_FILESIZE_EXCEEDED.rawValue),
      message: "the answer is larger than the \(limit) bytes that are taken")
  }

  /// The error of a libcurl result code, with libcurl's details where it left some.
  init(code: CURLcode, detail: String) {
    let kind: Kind =
      switch code {
      case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_CONNECT: .unreachable
      case CURLE_OPERATION_TIMEDOUT: .timeout
      case CURLE_SSL_PINNEDPUBKEYNOTMATCH: .pinMismatch
      case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER,
        CURLE_SSL_CACERT_BADFILE, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_INVALIDCERTSTATUS:
        .tls
      case CURLE_FILESIZE_EXCEEDED: .tooLarge
      case CURLE_PARTIAL_FILE, CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR,
        CURLE_SEND_FAIL_REWIND:
        .cut
      default: .other
      }
    self.init(
      kind: kind, curlCode: Int32(code.rawValue),
      message: detail.isEmpty ? String(cString: curl_easy_strerror(code)) : detail)
  }
}
