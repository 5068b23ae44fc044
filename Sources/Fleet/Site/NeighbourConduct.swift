/// How a neighbour has behaved, and whether it is asked now. Times are seconds of a monotonic clock.
public struct NeighbourConduct: Hashable, Sendable {
  public enum Event: Hashable, Sendable {
    /// What was asked for, and it was right.
    case answered
    /// No connection, or it broke off.
    case failed
    /// It let its time pass, or holds us up.
    case slow
    /// It does not know this box, or its key is not the configured one.
    case refused
    /// It does not have what it said it has.
    case missed
    /// It sent other bytes than the ones that were asked for.
    case lied
  }

  public private(set) var lies = 0
  /// Troubles in a row.
  public private(set) var troubles = 0
  public private(set) var lastTrouble: Event?
  /// It is left alone until then.
  public private(set) var restsUntil = 0.0
  private var misses = 0

  public init() {}

  /// So many false claims in a row are forgiven: what it has may just have gone.
  public static let forgivenMisses = 8

  public func isAsked(at now: Double) -> Bool { now >= restsUntil }

  /// Takes note. While a neighbour rests, what is still under way from before adds nothing to its rest.
  ///
  /// Returns true when it goes to rest for this.
  @discardableResult
  public mutating func note(_ event: Event, at now: Double) -> Bool {
    switch event {
    case .answered:
      // A liar does not become honest by an answer that is right, but a slow one has caught up.
      (troubles, misses) = (0, 0)
      return false
    case .missed:
      misses += 1
      guard misses > NeighbourConduct.forgivenMisses else { return false }
      misses = 0
    case .lied: lies += 1
    case .failed, .slow, .refused: break
    }
    lastTrouble = event
    guard isAsked(at: now) else { return false }
    troubles += 1
    restsUntil = now + rest(after: event)
    return true
  }

  /// Seconds; doubled with each time that it comes to this in a row, and for a liar with each lie.
  private func rest(after event: Event) -> Double {
    let (base, cap, times): (Double, Double, Int) =
      switch event {
      case .answered: (0, 0, 1)
      case .failed: (5, 300, troubles)
      case .missed: (60, 600, troubles)
      case .slow: (30, 900, troubles)
      case .refused: (60, 900, troubles)
      case .lied: (600, 86_400, lies)
      }
    var seconds = base
    for _ in 1..<max(times, 1) where seconds < cap { seconds *= 2 }
    return min(seconds, cap)
  }
}
