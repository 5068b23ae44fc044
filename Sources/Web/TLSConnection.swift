internal import CCurl
import Glibc

/// A TLS connection that bytes are written to, for protocols that are not HTTP. It blocks the thread that calls it.
public final class TLSConnection {
  private let easy: UnsafeMutableRawPointer
  private var isOpen = true

  /// Connects, and checks that the certificate is for this host and leads to one in `caFile` (PEM), or to one that the
  /// system trusts. Throws `HTTPClientError`.
  public init(host: String, port: UInt16, caFile: String? = nil, timeout: Duration = .seconds(10))
    throws(HTTPClientError)
  {
    guard let easy = curl_easy_init() else {
      throw HTTPClientError(kind: .unreachable, message: "libcurl has no memory")
    }
    self.easy = easy
    let name = host.contains(":") ? "[\(host)]" : host
    skerry_curl_set_str(easy, CURLOPT_URL, "https://\(name):\(port)/")
    skerry_curl_set_long(easy, CURLOPT_CONNECT_ONLY, 1)
    skerry_curl_set_long(easy, CURLOPT_NOSIGNAL, 1)
    skerry_curl_set_long(easy, CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
    skerry_curl_set_str(easy, CURLOPT_PROXY, "")
    skerry_curl_set_long(easy, CURLOPT_CONNECTTIMEOUT_MS, Int(timeout / .milliseconds(1)))
    if let caFile { skerry_curl_set_str(easy, CURLOPT_CAINFO, caFile) }
    let code = curl_easy_perform(easy)
    // All of self is there by now, so that a throw runs deinit.
    guard code == CURLE_OK else {
      throw HTTPClientError(
        kind: .unreachable, curlCode: Int32(code.rawValue), message: String(cString: curl_easy_strerror(code)))
    }
  }

  deinit { close() }

  /// Writes all of it, waiting as long as the peer takes something within a minute. Throws `HTTPClientError`.
  public func send(_ bytes: [UInt8]) throws(HTTPClientError) {
    var done = 0
    while done < bytes.count {
      var sent = 0
      let code = bytes.withUnsafeBytes {
        curl_easy_send(easy, $0.baseAddress?.advanced(by: done), bytes.count - done, &sent)
      }
      done += sent
      if code == CURLE_AGAIN {
        try waitUntilWritable()
      } else if code != CURLE_OK {
        throw HTTPClientError(
          kind: .cut, curlCode: Int32(code.rawValue), message: String(cString: curl_easy_strerror(code)))
      }
    }
  }

  /// Says good-bye and ends the connection.
  public func close() {
    if isOpen { curl_easy_cleanup(easy) }
    isOpen = false
  }

  private func waitUntilWritable() throws(HTTPClientError) {
    var socket: curl_socket_t = -1
    skerry_curl_get_socket(easy, &socket)
    var poll = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
    guard Glibc.poll(&poll, 1, 60_000) > 0 else {
      throw HTTPClientError(kind: .timeout, message: "the peer takes nothing")
    }
  }
}
