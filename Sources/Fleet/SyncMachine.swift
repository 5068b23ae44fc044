/// When a box syncs: decided here as values, done by its owner. Feed it what happens, do what it answers.
///
/// The owner keeps two timers, one for the next probe and one for the next scheduled sync; `probeAfter` and
/// `scheduleAfter` each replace theirs. When the probe's timer ends the owner asks the hub for a sign of life and
/// feeds back `probeSucceeded` or `probeFailed`.
public struct SyncMachine: Hashable, Sendable {
  public enum Outcome: Hashable, Sendable {
    case ok
    /// No connection to the hub could be had, or it was lost.
    case unreachable
    /// The hub answered, but with an error that passes, or with garbage.
    case transient
    /// It won't get better by itself: the box is not enrolled, was revoked, or the repository is not trusted.
    case permanent
  }

  public enum Event: Hashable, Sendable {
    case started
    /// Some link or route came or changed.
    case linkUp
    case linkDown
    case probeSucceeded
    case probeFailed
    case scheduleDue
    /// Somebody asks for a sync now.
    case requested
    case syncFinished(Outcome)
  }

  public enum Action: Hashable, Sendable {
    case startSync
    case probeAfter(Double)
    case scheduleAfter(Double)
  }

  public enum Reachability: Hashable, Sendable { case unknown, up, down }

  /// Seconds between probes: while the hub is out of reach, so that its return is noticed, and while it is there, so
  /// that its absence is.
  public let probeSeconds: Double
  /// Seconds between scheduled syncs, spread by a tenth either way.
  public let intervalSeconds: Double

  public private(set) var reachability = Reachability.unknown
  public private(set) var isSyncing = false
  /// A sync was asked for while one ran; it may have read its state too early, so another follows.
  public private(set) var isAskedAgain = false
  private var backoff: Backoff

  public init(
    probeSeconds: Double = 4, intervalSeconds: Double = 900,
    backoff: Backoff = Backoff(base: 4, cap: 300)
  ) {
    self.probeSeconds = max(probeSeconds, 0.1)
    self.intervalSeconds = max(intervalSeconds, 1)
    self.backoff = backoff
  }

  /// What to do now. `random` is uniform in 0..<1 and spreads the waits.
  public mutating func handle(_ event: Event, random: Double = 0.5) -> [Action] {
    switch event {
    case .started:
      return [.probeAfter(0), .scheduleAfter(interval(random))]
    case .linkUp:
      return [.probeAfter(0)]
    case .linkDown:
      reachability = .down
      return [.probeAfter(probeSeconds)]
    case .probeSucceeded:
      let wasUp = reachability == .up
      reachability = .up
      return (wasUp ? [] : start()) + [.probeAfter(probeSeconds)]
    case .probeFailed:
      reachability = .down
      return [.probeAfter(probeSeconds)]
    case .scheduleDue:
      // Out of reach there is nothing to try: the first probe that succeeds starts a sync.
      return (reachability == .down ? [] : start()) + [.scheduleAfter(interval(random))]
    case .requested:
      guard !isSyncing else {
        isAskedAgain = true
        return []
      }
      return start()
    case .syncFinished(let outcome):
      return finished(outcome, random)
    }
  }

  private mutating func start() -> [Action] {
    guard !isSyncing else { return [] }
    isSyncing = true
    return [.startSync]
  }

  private mutating func finished(_ outcome: Outcome, _ random: Double) -> [Action] {
    guard isSyncing else { return [] }
    isSyncing = false
    let again = isAskedAgain
    isAskedAgain = false
    switch outcome {
    case .ok:
      backoff.reset()
      reachability = .up
      return (again ? start() : []) + [.probeAfter(probeSeconds), .scheduleAfter(interval(random))]
    case .unreachable:
      reachability = .down
      return [.probeAfter(probeSeconds), .scheduleAfter(interval(random))]
    case .transient:
      // It answers, so probing tells nothing; wait longer each time.
      reachability = .up
      return [.probeAfter(probeSeconds), .scheduleAfter(backoff.next(random: random))]
    case .permanent:
      backoff.reset()
      reachability = .up
      return [.probeAfter(probeSeconds), .scheduleAfter(interval(random))]
    }
  }

  private func interval(_ random: Double) -> Double { intervalSeconds * (0.9 + 0.2 * random) }
}
