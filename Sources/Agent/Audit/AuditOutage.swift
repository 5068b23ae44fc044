import Fleet
import Host
import Storage
import Synchronization
import Trust

/// The times in which the log could not be written. While one lasts the log is tried once a second, with the record that
/// tells of it; when that is durable the outage is over.
final class AuditOutage: Sendable {
  private struct State {
    /// Since when, by both clocks; nil: all is well.
    var since: (unix: Int64, monotonic: Duration)?
    var cause = ""
    var refused: Int64 = 0
    /// Records that became durable although those who wrote them had been refused.
    var late: Range<UInt64>?
    var wasPutBack = false
    var isClosed = false
  }

  private let state = Mutex(State())
  private let append = Late<@Sendable (AuditEvent) async throws -> Void>()
  private let milliseconds: @Sendable () -> Int64
  private static let pause = Duration.seconds(1)

  init(milliseconds: @escaping @Sendable () -> Int64) { self.milliseconds = milliseconds }

  /// Since how many seconds the log can't be written, and why; nil when it can.
  var current: (seconds: Int64, cause: String)? {
    state.withLock { state in
      state.since.map { ((Clock.monotonic() - $0.monotonic).components.seconds, state.cause) }
    }
  }

  /// How the outage itself is written down.
  func bind(_ append: @escaping @Sendable (AuditEvent) async throws -> Void) { self.append.set(append) }

  /// A record was refused.
  func refused(_ error: any Error) {
    guard let cause = AuditOutage.cause(error) else { return }
    let begins = state.withLock { state in
      state.refused += 1
      state.cause = cause
      guard state.since == nil, !state.isClosed else { return false }
      state.since = (milliseconds(), Clock.monotonic())
      return true
    }
    if begins { Task { await probe() } }
  }

  /// Something happened to the log that nobody who writes is told of.
  func happened(_ incident: RecordLog.Incident) {
    let begins = state.withLock { state in
      switch incident {
      case .late(let range):
        state.late = (state.late.map { $0.lowerBound } ?? range.lowerBound)..<range.upperBound
      case .putBack: state.wasPutBack = true
      }
      guard state.since == nil, !state.isClosed else { return false }
      state.since = (milliseconds(), Clock.monotonic())
      state.cause = "removed"
      return true
    }
    if begins { Task { await probe() } }
  }

  /// Writes the outage down as soon as that is possible.
  private func probe() async {
    while true {
      try? await Task.sleep(for: AuditOutage.pause)
      guard let (event, counted) = state.withLock({ $0.isClosed ? nil : AuditOutage.event($0) }) else { return }
      do { try await append.value?(event) } catch {
        if let cause = AuditOutage.cause(error) { state.withLock { $0.cause = cause } }
        continue
      }
      let isOver = state.withLock { state in
        // Refused while the record was written: a new outage, which goes on.
        state.refused -= counted
        state.late = nil
        state.wasPutBack = false
        state.since = state.refused > 0 ? (milliseconds(), Clock.monotonic()) : nil
        return state.since == nil
      }
      if isOver { return }
    }
  }

  func close() { state.withLock { $0.isClosed = true } }

  private static func event(_ state: State) -> (event: AuditEvent, refused: Int64)? {
    guard let since = state.since else { return nil }
    var fields: [String: JSONValue] = [
      "event": "outage", "cause": .string(state.cause), "since": .integer(since.unix),
      "milliseconds": .integer(Int64((Clock.monotonic() - since.monotonic) / .milliseconds(1))),
      "refused": .integer(state.refused),
    ]
    if state.wasPutBack { fields["putBack"] = true }
    if let late = state.late {
      fields["lateFrom"] = .integer(Int64(clamping: late.lowerBound))
      fields["lateUntil"] = .integer(Int64(clamping: late.upperBound))
    }
    return (AuditEvent(kind: .audit, actor: "system", fields: fields), state.refused)
  }

  /// What kind of trouble it is; nil when the log itself is well.
  private static func cause(_ error: any Error) -> String? {
    guard let error = error as? StorageError else { return nil }
    return switch error {
    case .full: "full"
    case .readOnly: "readOnly"
    case .stalled: "stalled"
    case .displaced(_, let isReplaced): isReplaced ? "replaced" : "moved"
    case .damaged: "damaged"
    case .denied: "denied"
    case .invalidRecord, .tooLarge, .closed: nil
    default: "inputOutput"
    }
  }
}
