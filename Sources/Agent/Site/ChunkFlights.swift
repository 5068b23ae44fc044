import Models
import Synchronization

/// Chunks on their way from the hub, one fetch for each however many ask for it, and the last few that came, for those
/// that ask a moment later.
final class ChunkFlights: Sendable {
  typealias Bytes = Result<[UInt8], any Error>

  private struct State {
    var flights: [ChunkID: Flight] = [:]
    var tasks: [ChunkID: Task<Void, Never>] = [:]
    var kept: [ChunkID: [UInt8]] = [:]
    /// The oldest first.
    var order: [ChunkID] = []
    var keptBytes = 0
    var isEnded = false
  }

  private let state = Mutex(State())
  private let gate: Gate
  private let capacity: Int

  /// - Parameters:
  ///   - parallel: fetches at the same time.
  ///   - capacity: bytes kept of what came.
  init(parallel: Int = 8, capacity: Int = 8 << 20) {
    gate = Gate(places: parallel)
    self.capacity = capacity
  }

  /// What came not long ago.
  func kept(_ id: ChunkID) -> [UInt8]? { state.withLock { $0.kept[id] } }

  func underway(_ id: ChunkID) -> Flight? { state.withLock { $0.flights[id] } }

  /// The chunks that are under way or kept.
  var all: [ChunkID] { state.withLock { Array($0.flights.keys) + $0.order } }

  /// Remembers bytes that are right.
  func keep(_ id: ChunkID, _ bytes: [UInt8]) {
    state.withLock { state in
      guard state.kept[id] == nil, bytes.count <= capacity, !state.isEnded else { return }
      state.kept[id] = bytes
      state.order.append(id)
      state.keptBytes += bytes.count
      while state.keptBytes > capacity, !state.order.isEmpty {
        state.keptBytes -= state.kept.removeValue(forKey: state.order.removeFirst())?.count ?? 0
      }
    }
  }

  /// The fetch that is under way, or a new one.
  func fetch(_ id: ChunkID, _ work: @escaping @Sendable () async throws -> [UInt8]) -> Flight {
    let made = Flight()
    let (flight, isEnded) = state.withLock { state -> (Flight, Bool) in
      if let running = state.flights[id] { return (running, false) }
      if !state.isEnded { state.flights[id] = made }
      return (made, state.isEnded)
    }
    guard flight === made else { return flight }
    if isEnded {
      made.land(.failure(CancellationError()))
      return made
    }
    let task = Task { [gate, weak self] in
      let result: Bytes
      await gate.enter()
      do {
        try Task.checkCancellation()
        result = .success(try await work())
      } catch {
        result = .failure(error)
      }
      gate.leave()
      if case .success(let bytes) = result { self?.keep(id, bytes) }
      self?.landed(id)
      made.land(result)
    }
    state.withLock { state in
      if state.flights[id] === made { state.tasks[id] = task }
      if state.isEnded { task.cancel() }
    }
    return made
  }

  /// Breaks off what is under way and takes no more.
  func end() {
    let tasks = state.withLock { state in
      state.isEnded = true
      (state.kept, state.order, state.keptBytes) = ([:], [], 0)
      return Array(state.tasks.values)
    }
    for task in tasks { task.cancel() }
  }

  private func landed(_ id: ChunkID) {
    state.withLock { state in
      state.flights[id] = nil
      state.tasks[id] = nil
    }
  }
}

/// One fetch that several wait for, each for as long as it likes.
final class Flight: Sendable {
  private struct State {
    var result: ChunkFlights.Bytes?
    var waiters: [Int: CheckedContinuation<ChunkFlights.Bytes?, Never>] = [:]
    /// Whose time was over before they began to wait.
    var late: Set<Int> = []
    var next = 0
  }
  private let state = Mutex(State())

  func land(_ result: ChunkFlights.Bytes) {
    let waiters = state.withLock { state in
      if state.result == nil { state.result = result }
      defer { state.waiters = [:] }
      return Array(state.waiters.values)
    }
    for waiter in waiters { waiter.resume(returning: result) }
  }

  /// What came; nil when the time is over or the caller is cancelled.
  func wait(atMost limit: Duration? = nil) async -> ChunkFlights.Bytes? {
    let number = state.withLock { state in
      state.next += 1
      return state.next
    }
    let timer = limit.map { limit in
      Task {
        try? await Task.sleep(for: limit)
        self.leave(number)
      }
    }
    defer { timer?.cancel() }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isCancelled = Task.isCancelled
        let now = state.withLock { state -> (ChunkFlights.Bytes?, Bool) in
          if let result = state.result { return (result, true) }
          if isCancelled || state.late.remove(number) != nil { return (nil, true) }
          state.waiters[number] = continuation
          return (nil, false)
        }
        if now.1 { continuation.resume(returning: now.0) }
      }
    } onCancel: {
      leave(number)
    }
  }

  private func leave(_ number: Int) {
    let waiter = state.withLock { state in
      let waiter = state.waiters.removeValue(forKey: number)
      if waiter == nil, state.result == nil { state.late.insert(number) }
      return waiter
    }
    waiter?.resume(returning: nil)
  }
}

/// Lets so many through at a time, first come, first served.
final class Gate: Sendable {
  private struct State {
    var free: Int
    var waiting: [CheckedContinuation<Void, Never>] = []
  }
  private let state: Mutex<State>

  init(places: Int) { state = Mutex(State(free: places)) }

  func enter() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        if state.free > 0 {
          state.free -= 1
          return true
        }
        state.waiting.append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  func leave() {
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      if state.waiting.isEmpty {
        state.free += 1
        return nil
      }
      return state.waiting.removeFirst()
    }
    next?.resume()
  }
}
