internal import CCurl
import Glibc
import Synchronization

/// Owns libcurl's multi handle: one thread performs all transfers, others send it commands.
final class CurlThread: Sendable {
  enum Command: Sendable {
    case add(Transfer)
    case unpause(UInt64)
    case cancel(UInt64)
    case end
  }

  private struct Handles: @unchecked Sendable { let multi: OpaquePointer? }

  private let commands = Mutex<[Command]>([])
  private let handles: Handles
  private let done = Mutex<(ended: Bool, waiters: [CheckedContinuation<Void, Never>])>((false, []))

  init() {
    _ = Self.initialised
    handles = Handles(multi: curl_multi_init().map { OpaquePointer($0) })
    let owner = Unmanaged.passRetained(self)
    var thread = pthread_t()
    let started = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<CurlThread>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, owner.toOpaque())
    if started == 0 { pthread_detach(thread) } else { owner.release() }
  }

  private static let initialised: Bool = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

  private var multi: UnsafeMutableRawPointer? { handles.multi.map { UnsafeMutableRawPointer($0) } }

  func send(_ command: Command) {
    commands.withLock { $0.append(command) }
    curl_multi_wakeup(multi)
  }

  /// Ends all transfers and the thread.
  func end() async {
    send(.end)
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let ended = done.withLock { done in
        if !done.ended { done.waiters.append(continuation) }
        return done.ended
      }
      if ended { continuation.resume() }
    }
  }

  // MARK: On the thread

  private func run() {
    var active: [UInt64: EasyHandle] = [:]
    var running = true
    while running {
      for command in commands.withLock({ commands in
        defer { commands = [] }
        return commands
      }) {
        switch command {
        case .add(let transfer):
          if let easy = EasyHandle(transfer), curl_multi_add_handle(multi, easy.handle) == CURLM_OK {
            active[transfer.id] = easy
          } else {
            transfer.finish(HTTPClientError(kind: .other, curlCode: 0, message: "libcurl refused the request"))
          }
        case .unpause(let id):
          if let easy = active[id] { curl_easy_pause(easy.handle, CURLPAUSE_CONT) }
        case .cancel(let id):
          guard let easy = active.removeValue(forKey: id) else { break }
          curl_multi_remove_handle(multi, easy.handle)
          easy.transfer.finish(HTTPClientError(kind: .cancelled, curlCode: 0, message: "the request was cancelled"))
        case .end: running = false
        }
      }
      var count: Int32 = 0
      curl_multi_perform(multi, &count)
      var left: Int32 = 0
      while let message = curl_multi_info_read(multi, &left) {
        guard message.pointee.msg == CURLMSG_DONE, let handle = message.pointee.easy_handle else { continue }
        let code = message.pointee.data.result
        guard let found = active.first(where: { $0.value.handle == handle }) else { continue }
        active.removeValue(forKey: found.key)
        curl_multi_remove_handle(multi, handle)
        found.value.transfer.finish(code == CURLE_OK ? nil : found.value.failure(code))
      }
      if running { curl_multi_poll(multi, nil, 0, 1000, nil) }
    }
    for easy in active.values {
      curl_multi_remove_handle(multi, easy.handle)
      easy.transfer.finish(HTTPClientError(kind: .cancelled, curlCode: 0, message: "the client was closed"))
    }
    active = [:]
    for case .add(let transfer) in commands.withLock({ $0 }) {
      transfer.finish(HTTPClientError(kind: .cancelled, curlCode: 0, message: "the client was closed"))
    }
    curl_multi_cleanup(multi)
    let waiters = done.withLock { done in
      done.ended = true
      defer { done.waiters = [] }
      return done.waiters
    }
    for waiter in waiters { waiter.resume() }
  }
}
