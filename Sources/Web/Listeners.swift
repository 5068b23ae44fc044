internal import CMicroHTTPD
import Glibc

/// What can keep a server from listening.
public struct ListenError: Error, CustomStringConvertible, Equatable {
  public let listener: String
  public let code: Int32
  public var description: String { "can't listen on \(listener): \(String(cString: strerror(code)))" }
}

/// Where a server listens.
public enum Listener: Sendable, Hashable, CustomStringConvertible {
  /// Port 0 takes a free one.
  case tcp(host: String, port: Int)
  /// A Unix socket; a stale file in its place is replaced.
  case unix(path: String, mode: UInt32)
  /// A listening socket that was handed over (socket activation).
  case inherited(Int32)

  public var description: String {
    switch self {
    case .tcp(let host, let port): "\(host):\(port)"
    case .unix(let path, _): path
    case .inherited(let descriptor): "inherited socket \(descriptor)"
    }
  }

  /// A listening, non-blocking socket. Throws `ListenError`.
  func open() throws(ListenError) -> Int32 {
    switch self {
    case .tcp(let host, let port): try openTCP(host, port)
    case .unix(let path, let mode): try openUnix(path, mode)
    case .inherited(let descriptor): descriptor
    }
  }

  private func failure(_ code: Int32 = errno) -> ListenError { ListenError(listener: description, code: code) }

  private func openTCP(_ host: String, _ port: Int) throws(ListenError) -> Int32 {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host == "localhost" ? "127.0.0.1" : host, String(port), &hints, &list) == 0, let first = list
    else { throw failure(EINVAL) }
    defer { freeaddrinfo(list) }
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(first.pointee.ai_family, kind, 0)
    guard descriptor >= 0 else { throw failure() }
    var one: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    guard bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0, listen(descriptor, 128) == 0 else {
      let error = failure()
      close(descriptor)
      throw error
    }
    return descriptor
  }

  private func openUnix(_ path: String, _ mode: UInt32) throws(ListenError) -> Int32 {
    guard var address = unixAddress(path) else { throw failure(ENAMETOOLONG) }
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(AF_UNIX, kind, 0)
    guard descriptor >= 0 else { throw failure() }
    // Only a socket is removed, never somebody's file.
    var status = stat()
    if lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK { unlink(path) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard bound == 0, chmod(path, mode) == 0, listen(descriptor, 128) == 0 else {
      let error = failure()
      close(descriptor)
      throw error
    }
    return descriptor
  }
}

/// A Unix socket's address; nil when the path is longer than 107 bytes.
func unixAddress(_ path: String) -> sockaddr_un? {
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  let bytes = Array(path.utf8)
  guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
  return address
}

/// The port of a listening socket; 0 for one that has none.
func boundPort(_ descriptor: Int32) -> Int {
  var storage = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  return withUnsafeMutablePointer(to: &storage) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      guard getsockname(descriptor, address, &length) == 0 else { return 0 }
      switch Int32(address.pointee.sa_family) {
      case AF_INET:
        return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
          Int(UInt16(bigEndian: $0.pointee.sin_port))
        }
      case AF_INET6:
        return address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
          Int(UInt16(bigEndian: $0.pointee.sin6_port))
        }
      default: return 0
      }
    }
  }
}

/// Who is connected here.
func peer(of descriptor: Int32) -> Peer {
  var storage = sockaddr_storage()
  var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  let family = withUnsafeMutablePointer(to: &storage) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      getpeername(descriptor, $0, &length) == 0 ? Int32($0.pointee.sa_family) : AF_UNSPEC
    }
  }
  if family == AF_UNIX {
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var pid: Int32 = 0
    if skerry_peer_credentials(descriptor, &uid, &gid, &pid) == 0 { return .unix(uid: uid, gid: gid, pid: pid) }
  }
  var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
  let named = withUnsafeMutablePointer(to: &storage) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      getnameinfo($0, length, &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST)
    }
  }
  return .tcp(
    address: named == 0 ? String(decoding: host.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self) : "unknown")
}
