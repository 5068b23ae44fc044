import Host

/// Seconds that go on over restarts of the agent and of the machine, whatever the wall clock does: while the agent runs by
/// the clock that never goes back, over a restart by the same clock where the machine stayed up, and else by as much as
/// the believed time has moved on, and never back.
struct LastingTime: Sendable, Hashable {
  /// What is kept on disk.
  struct Mark: Sendable, Hashable {
    var boot: String
    /// Seconds since the machine started.
    var monotonic: Double
    /// Unix seconds, as they are believed.
    var unix: Int64
    var lasting: Double
  }

  /// What is added to the clock that never goes back.
  private let offset: Double
  /// Begins with this, so that nothing is before zero.
  static let start = 100.0 * 86_400
  /// A longer rest than this frees everything, so more of it tells nothing.
  static let longestRest = 3.0 * 86_400

  init(resuming mark: Mark?, boot: String, monotonic: Double, unix: Int64) {
    guard let mark, mark.lasting.isFinite, mark.lasting >= 0, mark.lasting < 1e12 else {
      offset = LastingTime.start - monotonic
      return
    }
    let passed =
      boot == mark.boot && monotonic >= mark.monotonic
      ? monotonic - mark.monotonic : Double(max(0, unix.subtractingReportingOverflow(mark.unix).partialValue))
    offset = mark.lasting + min(passed, LastingTime.longestRest) - monotonic
  }

  func at(_ monotonic: Double) -> Double { monotonic + offset }

  func mark(boot: String, monotonic: Double, unix: Int64) -> Mark {
    Mark(boot: boot, monotonic: monotonic, unix: unix, lasting: at(monotonic))
  }
}
