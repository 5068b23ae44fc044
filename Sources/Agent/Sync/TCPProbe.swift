import Dispatch
import Glibc
import Host
import Synchronization

/// Asks whether anything listens at an address: one TCP connection, closed at once.
enum TCPProbe {
  /// True when the connection is made within the time. A name lookup that takes longer counts as no.
  static func reaches(_ address: HubAddress, within timeout: Duration) async -> Bool {
    let once = Once()
    return await withCheckedContinuation { continuation in
      DispatchQueue.global(qos: .utility).async {
        let answer = connects(address, until: Clock.monotonic() + timeout)
        if once.first() { continuation.resume(returning: answer) }
      }
      let milliseconds = Int(timeout / .milliseconds(1))
      DispatchQueue.global(qos: .utility).asyncAfter(deadline: .now() + .milliseconds(milliseconds)) {
        if once.first() { continuation.resume(returning: false) }
      }
    }
  }

  private final class Once: Sendable {
    private let isDone = Atomic<Bool>(false)
    func first() -> Bool { !isDone.exchange(true, ordering: .acquiringAndReleasing) }
  }

  private static func connects(_ address: HubAddress, until deadline: Duration) -> Bool {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(address.host, String(address.port), &hints, &found) == 0 else { return false }
    defer { freeaddrinfo(found) }
    var next = found
    while let candidate = next?.pointee {
      if connects(candidate, until: deadline) { return true }
      next = candidate.ai_next
    }
    return false
  }

  private static func connects(_ candidate: addrinfo, until deadline: Duration) -> Bool {
    let kind = candidate.ai_socktype | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(candidate.ai_family, kind, candidate.ai_protocol)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    if connect(descriptor, candidate.ai_addr, candidate.ai_addrlen) == 0 { return true }
    guard errno == EINPROGRESS else { return false }
    while true {
      let left = Int32(clamping: Int((deadline - Clock.monotonic()) / .milliseconds(1)))
      guard left > 0 else { return false }
      var polled = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      let ready = poll(&polled, 1, left)
      if ready < 0, errno == EINTR { continue }
      guard ready == 1 else { return false }
      var code: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == 0
    }
  }
}
