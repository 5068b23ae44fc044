internal import CCurl
import Glibc
import Synchronization

/// The thread that owns the curl multi handle. Everybody else appends a command and wakes it.
final class TransferLoop: Sendable {
  enum Command: Sendable {
    case add(Transfer)
    /// Goes on with a transfer that one of its callbacks paused.
    case unpause(Transfer)
    case remove(Transfer)
  }

  private struct State {
    var commands: [Command] = []
    var stopping = false
    var ended = false
    var onEnd: [@Sendable () -> Void] = []
    /// Transfers that their pace holds back, and until when.
    var held: [ObjectIdentifier: (transfer: Transfer, until: ContinuousClock.Instant)] = [:]
    /// The multi handle while the thread lives, as a number, since a Mutex holds only what may cross threads.
    var multi: UInt = 0
  }

  private let state = Mutex(State())

  private static let prepared: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

  init() {
    guard Self.prepared, let multi = curl_multi_init() else {
      state.withLock { $0.ended = true }
      return
    }
    state.withLock { $0.multi = UInt(bitPattern: multi) }
    let retained = Unmanaged.passRetained(self)
    var thread = pthread_t()
    let started = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        blockSignals()
        Unmanaged<TransferLoop>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, retained.toOpaque())
    guard started == 0 else {
      retained.release()
      curl_multi_cleanup(multi)
      state.withLock { $0 = State(ended: true) }
      return
    }
    pthread_detach(thread)
  }

  func add(_ transfer: Transfer) {
    let closed = enqueue(.add(transfer))
    if closed { transfer.finish(.closed) }
  }

  /// True when the loop has ended and takes no more.
  @discardableResult
  func enqueue(_ command: Command) -> Bool {
    state.withLock { state in
      if state.ended || state.stopping { return true }
      state.commands.append(command)
      // Inside the lock, so that the handle is not cleaned up under it.
      if let multi = UnsafeMutableRawPointer(bitPattern: state.multi) { curl_multi_wakeup(multi) }
      return false
    }
  }

  /// Goes on with a transfer that its pace paused after this time. From the thread itself.
  func hold(_ transfer: Transfer, for wait: Duration) {
    let until = ContinuousClock.now + wait
    state.withLock { $0.held[ObjectIdentifier(transfer)] = (transfer, until) }
  }

  /// How many milliseconds until the next one goes on, and no more than a minute.
  private func patience() -> Int32 {
    // Before every wait: nothing is worked out while nobody is held.
    let next = state.withLock { state in state.held.isEmpty ? nil : state.held.values.lazy.map { $0.until }.min() }
    guard let next else { return 60_000 }
    let wait = next - ContinuousClock.now
    return Int32(clamping: min(60_000, max(0, Int((wait / .milliseconds(1)).rounded(.up)))))
  }

  /// Those whose time has come.
  private func due() -> [Transfer] {
    state.withLock { state in
      if state.held.isEmpty { return [] }
      let now = ContinuousClock.now
      let due = state.held.filter { $0.value.until <= now }
      for key in due.keys { state.held[key] = nil }
      return due.values.map(\.transfer)
    }
  }

  /// Ends all transfers, then the thread; `done` is called when it has.
  func stop(_ done: (@Sendable () -> Void)? = nil) {
    let ended = state.withLock { state -> Bool in
      if state.ended { return true }
      state.stopping = true
      if let done { state.onEnd.append(done) }
      if let multi = UnsafeMutableRawPointer(bitPattern: state.multi) { curl_multi_wakeup(multi) }
      return false
    }
    if ended { done?() }
  }

  private func run() {
    guard let multi = UnsafeMutableRawPointer(bitPattern: state.withLock(\.multi)) else { return }
    var active: [UnsafeMutableRawPointer: Transfer] = [:]
    while true {
      let (commands, stopping) = state.withLock { state in
        defer { state.commands = [] }
        return (state.commands, state.stopping)
      }
      for command in commands { obey(command, multi, &active) }
      if stopping { break }
      var running: Int32 = 0
      curl_multi_perform(multi, &running)
      var left: Int32 = 0
      while let message = curl_multi_info_read(multi, &left) {
        guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else { continue }
        let code = message.pointee.data.result
        guard let transfer = active.removeValue(forKey: easy) else { continue }
        curl_multi_remove_handle(multi, easy)
        transfer.ended(code)
      }
      curl_multi_poll(multi, nil, 0, patience(), nil)
      for transfer in due() { obey(.unpause(transfer), multi, &active) }
    }
    for (easy, transfer) in active {
      curl_multi_remove_handle(multi, easy)
      transfer.ended(nil)
    }
    let (late, onEnd) = state.withLock { state in
      state.ended = true
      state.multi = 0
      defer { (state.commands, state.onEnd, state.held) = ([], [], [:]) }
      return (state.commands, state.onEnd)
    }
    curl_multi_cleanup(multi)
    for case .add(let transfer) in late { transfer.finish(.closed) }
    for done in onEnd { done() }
  }

  private func obey(
    _ command: Command, _ multi: UnsafeMutableRawPointer, _ active: inout [UnsafeMutableRawPointer: Transfer]
  ) {
    switch command {
    case .add(let transfer):
      guard let easy = transfer.begin() else { return }
      guard curl_multi_add_handle(multi, easy) == CURLM_OK else {
        transfer.ended(CURLE_FAILED_INIT)
        return
      }
      active[easy] = transfer
    case .unpause(let transfer):
      // The callbacks run inside this call; what they end shows up in the next perform.
      if let easy = transfer.easy, active[easy] != nil { curl_easy_pause(easy, CURLPAUSE_CONT) }
    case .remove(let transfer):
      guard let easy = transfer.easy, active.removeValue(forKey: easy) != nil else { return }
      curl_multi_remove_handle(multi, easy)
      transfer.ended(nil)
    }
  }
}
