import Synchronization

/// A part of the agent that is made after those that ask for it: two parts that know each other need one.
final class Late<Part: Sendable>: Sendable {
  private let part = Mutex<Part?>(nil)

  func set(_ made: Part) { part.withLock { $0 = made } }

  /// Nil until it is made.
  var value: Part? { part.withLock { $0 } }
}
