internal import CMicroHTTPD
import Glibc
import Synchronization

/// Notices what libmicrohttpd does not: that the other end of a suspended connection has gone, that a request's head
/// takes too long although bytes trickle in, and that an answer does.
final class HangUpWatcher: Sendable {
  private struct State {
    var next: UInt64 = 2
    var watched: [UInt64: @Sendable () -> Void] = [:]
    /// When the connection of this descriptor is cut, unless a whole head comes before.
    var heads: [Int32: ContinuousClock.Instant] = [:]
    /// What is called when something else takes too long.
    var deadlines: [UInt64: (end: ContinuousClock.Instant, late: @Sendable () -> Void)] = [:]
    /// The moment that the timer is set to.
    var alarm: ContinuousClock.Instant?
  }

  private static let stopKey: UInt64 = 0
  private static let timerKey: UInt64 = 1

  private let state = Mutex(State())
  private let epoll = skerry_epoll_new()
  private let stopEvent = skerry_event_new()
  private let timer = skerry_timer_new()

  init() {
    _ = skerry_epoll_input(epoll, stopEvent, Self.stopKey)
    _ = skerry_epoll_input(epoll, timer, Self.timerKey)
    let watcher = Unmanaged.passRetained(self)
    var thread = pthread_t()
    let started = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        blockSignals()
        Unmanaged<HangUpWatcher>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, watcher.toOpaque())
    if started == 0 { pthread_detach(thread) } else { watcher.release() }
  }

  // The thread holds a reference until it ends, so nobody uses the descriptors any more.
  deinit { for descriptor in [epoll, stopEvent, timer] { close(descriptor) } }

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

  /// Cuts the connection when no whole head has come on it by then. A connection must be released before its descriptor
  /// is closed.
  func expectHead(_ descriptor: Int32, within limit: Duration) {
    let end = ContinuousClock.now + limit
    state.withLock { state in
      state.heads[descriptor] = end
      if let alarm = state.alarm, alarm <= end { return }
      setAlarm(&state, end)
    }
  }

  /// Calls `late` unless the ticket is met within this time. A timer for each would cost two changes of threads; here
  /// it is set anew only for one that ends before all others.
  func expect(within limit: Duration, late: @escaping @Sendable () -> Void) -> UInt64 {
    let end = ContinuousClock.now + limit
    return state.withLock { state in
      defer { state.next += 1 }
      state.deadlines[state.next] = (end, late)
      if state.alarm.map({ $0 > end }) ?? true { setAlarm(&state, end) }
      return state.next
    }
  }

  /// The expected came in time.
  func met(_ ticket: UInt64) { _ = state.withLock { $0.deadlines.removeValue(forKey: ticket) } }

  func headCame(_ descriptor: Int32) { _ = state.withLock { $0.heads.removeValue(forKey: descriptor) } }

  private func setAlarm(_ state: inout State, _ moment: ContinuousClock.Instant) {
    state.alarm = moment
    _ = skerry_timer_set(timer, Int64((moment - .now) / .milliseconds(1)) + 1)
  }

  private func alarmRang() {
    var count: UInt64 = 0
    _ = read(timer, &count, 8)
    let late = state.withLock { state in
      let now = ContinuousClock.now
      for (descriptor, end) in state.heads where end <= now {
        shutdown(descriptor, Int32(SHUT_RDWR))
        state.heads[descriptor] = nil
      }
      let over = state.deadlines.filter { $0.value.end <= now }
      for ticket in over.keys { state.deadlines[ticket] = nil }
      state.alarm = nil
      let next = [state.heads.values.min(), state.deadlines.values.map(\.end).min()].compactMap(\.self).min()
      if let next { setAlarm(&state, next) }
      return over.values.map(\.late)
    }
    for call in late { call() }
  }

  /// Ends the thread.
  func stop() {
    var one: UInt64 = 1
    _ = write(stopEvent, &one, 8)
  }

  private func run() {
    var keys = [UInt64](repeating: 0, count: 64)
    while true {
      let count = skerry_epoll_wait(epoll, &keys)
      if count < 0 && errno != EINTR { return }
      for key in keys.prefix(Int(max(0, count))) {
        switch key {
        case Self.stopKey: return
        case Self.timerKey: alarmRang()
        default: state.withLock { $0.watched.removeValue(forKey: key) }?()
        }
      }
    }
  }
}

/// A thread of the library's own takes no signals, and a write to a closed socket is an error there instead of SIGPIPE.
func blockSignals() {
  var all = sigset_t()
  sigfillset(&all)
  pthread_sigmask(SIG_BLOCK, &all, nil)
}
