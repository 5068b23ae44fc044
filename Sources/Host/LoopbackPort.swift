import Glibc

/// TCP ports of 127.0.0.1.
public enum LoopbackPort {
  /// One that nobody listens on at the moment.
  public static func free() throws(HostError) -> UInt16 {
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let held = Descriptor(Int32(try systemCall("socket") { Glibc.socket(AF_INET, kind, 0) }))
    defer { withExtendedLifetime(held) {} }
    let socket = held.number
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    try withUnsafeMutablePointer(to: &address) { pointer throws(HostError) in
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic throws(HostError) in
        try systemCall("bind") { bind(socket, generic, length) }
        try systemCall("getsockname") { getsockname(socket, generic, &length) }
      }
    }
    return UInt16(bigEndian: address.sin_port)
  }
}
