internal import CMicroHTTPD
import Glibc
import Synchronization

/// Notices that the other end of a suspended connection has gone: libmicrohttpd does not look at those.
final class HangUpWatcher: Sendable {
  private struct State {
    var next: UInt64 = 1
    var watched: [UInt64: @Sendable () -> Void] = [:]
  }

  private let state = Mutex(State())
  private let epoll: Int32
  private let stopEvent: Int32

  init() {
    epoll = skerry_epoll_new()
    stopEvent = skerry_event_new()
    _ = skerry_epoll_input(epoll, stopEvent, 0)
    let watcher = Unmanaged.passRetained(self)
    var thread = pthread_t()
    let started = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<HangUpWatcher>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, watcher.toOpaque())
    if started == 0 { pthread_detach(thread) } else { watcher.release() }
  }

  /// Calls `gone` once when the peer of this socket hangs up; the ticket ends the watch.
  func watch(_ descriptor: Int32, gone: @escaping @Sendable () -> Void) -> UInt64 {
    let ticket = state.withLock { state in
      defer { state.next += 1 }
      state.watched[state.next] = gone
      return state.next
    }
    _ = skerry_epoll_hangup(epoll, descriptor, ticket)
    return ticket
  }

  func forget(_ ticket: UInt64, _ descriptor: Int32) {
    _ = state.withLock { $0.watched.removeValue(forKey: ticket) }
    _ = skerry_epoll_forget(epoll, descriptor)
  }

  func stop() {
    var one: UInt64 = 1
    _ = write(stopEvent, &one, 8)
  }

  private func run() {
    var keys = [UInt64](repeating: 0, count: 64)
    while true {
      let count = skerry_epoll_wait(epoll, &keys)
      if count < 0 && errno != EINTR { break }
      for key in keys.prefix(Int(max(0, count))) {
        if key == 0 {
          close(epoll)
          close(stopEvent)
          return
        }
        let gone = state.withLock { $0.watched.removeValue(forKey: key) }
        gone?()
      }
    }
  }
}
