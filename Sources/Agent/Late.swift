import Synchronization

/// A part of the agent that is made after those that ask for it: two parts that know each other need one.
final class Late<Part: Sendable>: Sendable {
  private let part = Mutex<Part?>(nil)

  func set(_ made: Part) { part.withLock { $0 = made } }

  /// Lets go of it, so that two parts that know each other can both go.
  func clear() { part.withLock { $0 = nil } }

  /// Nil until it is made.
  var value: Part? { part.withLock { $0 } }
}
