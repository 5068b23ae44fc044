import Access
import Synchronization

/// A request's right to go on: let in by the limits, then in its place in front of an engine, then at the engine. It ends
/// once, with what was used, at the latest when nobody holds it any more.
final class Ticket: Sendable {
  let id: UInt64
  let charge: Limiter.Charge
  private let gate: FairGate
  private let place = Mutex<(lane: InferenceService.Key?, isOver: Bool)>((nil, false))

  init(id: UInt64, charge: Limiter.Charge, gate: FairGate) {
    self.id = id
    self.charge = charge
    self.gate = gate
  }

  var caller: String { charge.caller }
  /// The role under which it was let in.
  var role: String { charge.role }

  /// Says which engine it waits for.
  func stand(at lane: InferenceService.Key) { place.withLock { $0.lane = lane } }

  /// Gives the slot back, and what was foreseen and not used.
  func end(tokens: Int) {
    let (isFirst, lane) = place.withLock { place -> (Bool, InferenceService.Key?) in
      defer { place.isOver = true }
      return (!place.isOver, place.lane)
    }
    if isFirst { gate.end(id, charge, lane, tokens: tokens) }
  }

  deinit { end(tokens: 0) }
}
