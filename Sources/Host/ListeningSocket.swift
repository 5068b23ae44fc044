import Glibc

/// A Unix socket that listens, for handing on to a child. Whoever connects before the child accepts waits.
public final class ListeningSocket: Sendable {
  private let socket: Descriptor
  /// No longer good than this object lives.
  public var descriptor: Int32 { socket.number }

  /// Binds the path, which must not exist; the folder says who may connect.
  public init(_ path: String) throws(HostError) {
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    socket = Descriptor(Int32(try systemCall("socket", path) { Glibc.socket(AF_UNIX, kind, 0) }))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw HostError(operation: "bind", path: path, code: ENAMETOOLONG)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let number = socket.number
    try systemCall("bind", path) {
      withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
    }
    try systemCall("listen", path) { listen(number, 128) }
  }
}
