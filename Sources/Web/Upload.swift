internal import CCurl
import Synchronization

/// A request's body that is made while it is sent: a task fetches pieces while little is waiting, the client's thread
/// hands them to libcurl.
final class Upload: Sendable {
  enum Read {
    case bytes(Int)
    case pause, end
  }

  private struct State {
    var pieces: [[UInt8]] = []
    /// Bytes of the first piece that are sent.
    var sent = 0
    var held = 0
    var hasEnded = false
    var isClosed = false
    /// libcurl's side waits for bytes.
    var isPaused = false
    var room: CheckedContinuation<Void, Never>?
    var task: Task<Void, Never>?
  }

  static let capacity = 256 * 1024
  private let next: @Sendable () async throws -> [UInt8]?
  private let state = Mutex(State())

  init(next: @escaping @Sendable () async throws -> [UInt8]?) {
    self.next = next
  }

  /// `unpause` is called when libcurl waited for bytes and there are some, `fail` when the body can't be made.
  func start(fail: @escaping @Sendable (any Error) -> Void, unpause: @escaping @Sendable () -> Void) {
    let task = Task {
      do {
        while !state.withLock(\.isClosed), let piece = try await next() {
          if piece.isEmpty { continue }
          if put(piece) { unpause() }
          await room()
        }
        if end() { unpause() }
      } catch {
        fail(error)
      }
    }
    let isClosed = state.withLock { state in
      state.task = task
      return state.isClosed
    }
    if isClosed { task.cancel() }
  }

  private func put(_ piece: [UInt8]) -> Bool {
    state.withLock { state in
      state.pieces.append(piece)
      state.held += piece.count
      defer { state.isPaused = false }
      return state.isPaused
    }
  }

  private func end() -> Bool {
    state.withLock { state in
      state.hasEnded = true
      defer { state.isPaused = false }
      return state.isPaused
    }
  }

  private func room() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      let waits = state.withLock { state -> Bool in
        guard state.held >= Self.capacity, !state.isClosed else { return false }
        state.room = continuation
        return true
      }
      if !waits { continuation.resume() }
    }
  }

  /// The transfer is over: nothing more is fetched.
  func close() {
    let (room, task) = state.withLock { state in
      state.isClosed = true
      state.pieces = []
      defer { (state.room, state.task) = (nil, nil) }
      return (state.room, state.task)
    }
    task?.cancel()
    room?.resume()
  }

  /// For libcurl's read callback, on the client's thread.
  func read(into target: UnsafeMutableRawBufferPointer) -> Read {
    let (result, room) = state.withLock { state -> (Read, CheckedContinuation<Void, Never>?) in
      guard let piece = state.pieces.first else {
        if state.hasEnded || state.isClosed { return (.end, nil) }
        state.isPaused = true
        return (.pause, nil)
      }
      let count = min(target.count, piece.count - state.sent)
      piece.withUnsafeBytes {
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[state.sent..<state.sent + count]))
      }
      state.sent += count
      state.held -= count
      if state.sent == piece.count {
        state.pieces.removeFirst()
        state.sent = 0
      }
      guard state.held < Self.capacity / 2 else { return (.bytes(count), nil) }
      defer { state.room = nil }
      return (.bytes(count), state.room)
    }
    room?.resume()
    return result
  }
}
