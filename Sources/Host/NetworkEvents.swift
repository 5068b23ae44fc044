internal import CProcess
import Glibc

/// The kernel's news of links and routes (rtnetlink(7)).
public enum NetworkEvents {
  /// An element after each change of a link or a route, a burst of them counted as one: it comes when the network
  /// was quiet for `quiet`, at the latest a second after the first. The stream ends when its reader goes; where
  /// netlink can't be had it throws.
  public static func stream(quiet: Duration = .milliseconds(200)) throws -> AsyncStream<Void> {
    let opened = skerry_route_socket()
    if opened < 0 { throw HostError(operation: "socket", path: "netlink", code: -opened) }
    let socket = Descriptor(opened)
    let stop = try Descriptor.pipe()
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    continuation.onTermination = { _ in
      var byte: UInt8 = 0
      _ = write(stop.write.number, &byte, 1)
    }
    let milliseconds = Int32(quiet / .milliseconds(1))
    try WorkerThread.start("skerry-netlink") {
      while wait(socket, stop.read, -1) == .news {
        let first = Clock.monotonic()
        var end = empty(socket) ? Waited.quiet : .stopped
        while end != .stopped, Clock.monotonic() - first < .seconds(1) {
          end = wait(socket, stop.read, milliseconds)
          if end != .news { break }
          if !empty(socket) { end = .stopped }
        }
        if end == .stopped { break }
        continuation.yield()
      }
      continuation.finish()
    }
    return stream
  }

  private enum Waited { case news, quiet, stopped }

  private static func wait(_ socket: Descriptor, _ stop: Descriptor, _ milliseconds: Int32) -> Waited {
    var polled = [
      pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0),
      pollfd(fd: stop.number, events: Int16(POLLIN), revents: 0),
    ]
    while true {
      let count = poll(&polled, 2, milliseconds)
      if count < 0, errno == EINTR { continue }
      if count < 0 || polled[1].revents != 0 { return .stopped }
      return count == 0 ? .quiet : .news
    }
  }

  /// Drops what has arrived: that something changed is all we want to know, so an overrun (ENOBUFS) is news too.
  private static func empty(_ socket: Descriptor) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 16 << 10)
    while true {
      if recv(socket.number, &buffer, buffer.count, Int32(MSG_DONTWAIT)) > 0 { continue }
      switch errno {
      case EINTR, ENOBUFS: continue
      case EAGAIN: return true
      default: return false
      }
    }
  }
}
