import Synchronization

/// Writes a streamed response's body. At most 64 KiB wait for a slow client; then `write` waits too.
public final class ResponseWriter: Sendable {
  struct State {
    var buffer: [UInt8] = []
    var begun = false
    var finished = false
    var failed = false
    /// The client has gone, or the server is stopping.
    var cancelled = false
    /// The connection sleeps until there is something to send.
    var asleep = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  static let capacity = 64 * 1024
  private let state = Mutex(State())
  private let begin: @Sendable () -> Void
  private let wake: @Sendable () -> Void

  /// `begin` lets the head go out; it is called once, when the first bytes are there or the body has ended. `wake`
  /// resumes the connection that slept for want of bytes.
  init(begin: @escaping @Sendable () -> Void = {}, wake: @escaping @Sendable () -> Void) {
    self.begin = begin
    self.wake = wake
  }

  /// Hands the bytes to the connection. Throws `CancellationError` when the client has gone.
  public func write(_ bytes: [UInt8]) async throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      try await put(Array(rest.prefix(Self.capacity / 2)))
      rest = rest.dropFirst(Self.capacity / 2)
    }
  }

  private func put(_ bytes: [UInt8]) async throws {
    while true {
      enum Now {
        case taken(first: Bool, wake: Bool)
        case gone, full
      }
      let now = state.withLock { state -> Now in
        if state.cancelled || state.finished { return .gone }
        guard state.buffer.isEmpty || state.buffer.count + bytes.count <= Self.capacity else { return .full }
        state.buffer += bytes
        defer { (state.asleep, state.begun) = (false, true) }
        return .taken(first: !state.begun, wake: state.asleep)
      }
      switch now {
      case .taken(let first, let sleeping):
        if first { begin() }
        if sleeping { wake() }
        return
      case .gone: throw CancellationError()
      case .full: await room()
      }
    }
  }

  public func write(_ text: String) async throws { try await write(Array(text.utf8)) }

  private func room() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let waits = state.withLock { state -> Bool in
        guard !state.cancelled, state.buffer.count > Self.capacity / 2 else { return false }
        state.waiter = continuation
        return true
      }
      if !waits { continuation.resume() }
    }
  }

  /// The end; `failed` cuts the connection instead of ending the body properly.
  func finish(failed: Bool) {
    let (first, sleeping) = state.withLock { state -> (Bool, Bool) in
      state.finished = true
      state.failed = failed
      defer { (state.asleep, state.begun) = (false, true) }
      return (!state.begun, state.asleep)
    }
    if first { begin() }
    if sleeping { wake() }
  }

  /// The client has gone: the next write throws, and the connection wakes to end.
  func cancel() {
    let (waiter, sleeping) = state.withLock { state -> (CheckedContinuation<Void, Never>?, Bool) in
      state.cancelled = true
      defer {
        state.waiter = nil
        state.asleep = false
      }
      return (state.waiter, state.asleep)
    }
    waiter?.resume()
    if sleeping { wake() }
  }

  enum Read {
    case bytes(Int)
    case asleep, end, failed
  }

  /// Called by the connection's thread. `sleep` runs under the lock, so that no write falls between.
  func read(into target: UnsafeMutableRawBufferPointer, sleep: () -> Void) -> Read {
    let (result, waiter) = state.withLock { state -> (Read, CheckedContinuation<Void, Never>?) in
      if !state.buffer.isEmpty, !state.cancelled {
        let count = min(target.count, state.buffer.count)
        state.buffer.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        state.buffer.removeFirst(count)
        guard state.buffer.count <= Self.capacity / 2 else { return (.bytes(count), nil) }
        defer { state.waiter = nil }
        return (.bytes(count), state.waiter)
      }
      if state.cancelled || (state.finished && state.failed) { return (.failed, nil) }
      if state.finished { return (.end, nil) }
      state.asleep = true
      sleep()
      return (.asleep, nil)
    }
    waiter?.resume()
    return result
  }
}
