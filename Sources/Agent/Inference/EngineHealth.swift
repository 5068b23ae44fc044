import Glibc

/// Asks an engine whether it is ready: llama-server's `GET /health` is 503 while the model loads, then 200. One short
/// exchange on a connection of its own, so that no pooled connection to an engine that is still loading stays behind.
enum EngineHealth {
  static func isReady(_ address: EngineAddress, _ path: String = "/health") async -> Bool {
    (try? await offPool { status(address, path) == 200 }) ?? false
  }

  /// The response's status; nil when nobody answers within two seconds.
  static func status(_ address: EngineAddress, _ path: String = "/health") -> Int? {
    let family = address.socketPath == nil ? AF_INET : AF_UNIX
    let descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var patience = timeval(tv_sec: 2, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    switch address {
    case .unix(let socketPath, _): guard connect(descriptor, to: socketPath) else { return nil }
    case .loopback(let port, _): guard connect(descriptor, port: port) else { return nil }
    }
    let secret = address.secret.map { "Authorization: Bearer \($0)\r\n" } ?? ""
    let request = Array("GET \(path) HTTP/1.1\r\nHost: engine\r\n\(secret)Connection: close\r\n\r\n".utf8)
    guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return nil }
    // "HTTP/1.1 200" is all that matters, and arrives in one piece.
    var answer = [UInt8](repeating: 0, count: 64)
    let got = recv(descriptor, &answer, answer.count, 0)
    guard got >= 12 else { return nil }
    return Int(String(decoding: answer[9..<12], as: UTF8.self))
  }

  private static func connect(_ descriptor: Int32, to path: String) -> Bool {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard bytes.count < room else { return false }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
  }

  private static func connect(_ descriptor: Int32, port: UInt16) -> Bool {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
