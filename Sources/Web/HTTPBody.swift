import Synchronization

/// A request's body as it arrives, in bounded memory: when its buffer is full, the connection is not read from.
/// One consumer, which reads before the handler returns its response: what is left then is thrown away, and reading it
/// throws `BodyDiscarded`.
public struct HTTPBody: Sendable, AsyncSequence {
  public typealias Element = [UInt8]
  let pipe: BytePipe

  /// A body that is at hand as a whole.
  public init(_ bytes: [UInt8] = []) {
    pipe = BytePipe(capacity: .max)
    pipe.offer(bytes)
    pipe.finish()
  }

  init(pipe: BytePipe) { self.pipe = pipe }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let pipe: BytePipe
    public mutating func next() async throws -> [UInt8]? { try await pipe.next() }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pipe: pipe) }

  /// The whole body. Throws `HTTPFailure` 413 when it is longer than `limit` bytes.
  public func collect(upTo limit: Int) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    for try await piece in self {
      guard bytes.count + piece.count <= limit else { throw HTTPFailure.bodyTooLarge(limit) }
      bytes += piece
    }
    return bytes
  }
}

/// The body was asked for after the response.
public struct BodyDiscarded: Error, CustomStringConvertible {
  public init() {}
  public var description: String { "the request's body must be read before the handler returns its response" }
}

extension HTTPFailure {
  static func bodyTooLarge(_ limit: Int) -> HTTPFailure {
    HTTPFailure(413, "body_too_large", "The request's body is larger than the \(limit) bytes that are taken here.")
  }
}

/// Bytes from a thread that must not wait to a task that may: offer, and be told when there is room again.
final class BytePipe: Sendable {
  private struct State {
    var pieces: [[UInt8]] = []
    var size = 0
    var finished = false
    var failure: (any Error)?
    var waiter: CheckedContinuation<[UInt8]?, any Error>?
    /// Called once when there is room again, after an offer was refused.
    var onRoom: (@Sendable () -> Void)?
    var discarding = false
    /// Bytes were thrown away, or will be.
    var isLossy = false
  }

  private let state = Mutex(State())
  private let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  /// Takes the bytes and returns true; false when full, and then `onRoom` is called once when there is room again.
  @discardableResult
  func offer(_ bytes: [UInt8], onRoom: (@Sendable () -> Void)? = nil) -> Bool {
    guard !bytes.isEmpty else { return true }
    let (taken, waiter) = state.withLock { state -> (Bool, CheckedContinuation<[UInt8]?, any Error>?) in
      if state.discarding || state.failure != nil { return (true, nil) }
      if let waiter = state.waiter {
        state.waiter = nil
        return (true, waiter)
      }
      if state.size > 0, state.size + bytes.count > capacity, let onRoom {
        state.onRoom = onRoom
        return (false, nil)
      }
      state.pieces.append(bytes)
      state.size += bytes.count
      return (true, nil)
    }
    waiter?.resume(returning: bytes)
    return taken
  }

  func finish(throwing failure: (any Error)? = nil) {
    let waiter = state.withLock { state -> CheckedContinuation<[UInt8]?, any Error>? in
      guard !state.finished else { return nil }
      state.finished = true
      state.failure = failure
      defer { state.waiter = nil }
      return state.waiter
    }
    if let failure { waiter?.resume(throwing: failure) } else { waiter?.resume(returning: nil) }
  }

  /// Nobody will read on: what comes is thrown away.
  func discard() {
    let onRoom = state.withLock { state -> (@Sendable () -> Void)? in
      state.discarding = true
      state.isLossy = state.isLossy || !state.finished || !state.pieces.isEmpty
      state.pieces = []
      state.size = 0
      defer { state.onRoom = nil }
      return state.onRoom
    }
    onRoom?()
  }

  func next() async throws -> [UInt8]? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<[UInt8]?, any Error>) in
        enum Now {
          case piece([UInt8], (@Sendable () -> Void)?)
          case end
          case failed(any Error)
          case wait
        }
        let cancelled = Task.isCancelled
        let now = state.withLock { state -> Now in
          if cancelled { return .failed(CancellationError()) }
          if !state.pieces.isEmpty {
            let piece = state.pieces.removeFirst()
            state.size -= piece.count
            defer { state.onRoom = nil }
            return .piece(piece, state.onRoom)
          }
          if let failure = state.failure { return .failed(failure) }
          if state.isLossy { return .failed(BodyDiscarded()) }
          if state.finished { return .end }
          state.waiter = continuation
          return .wait
        }
        switch now {
        case .piece(let piece, let onRoom):
          onRoom?()
          continuation.resume(returning: piece)
        case .end: continuation.resume(returning: nil)
        case .failed(let error): continuation.resume(throwing: error)
        case .wait: break
        }
      }
    } onCancel: {
      let waiter = state.withLock { state in
        defer { state.waiter = nil }
        return state.waiter
      }
      waiter?.resume(throwing: CancellationError())
    }
  }
}
