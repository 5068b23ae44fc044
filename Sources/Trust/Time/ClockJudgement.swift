/// Why the wall clock is not believed.
public enum ClockDoubt: String, Codable, Hashable, Sendable, CaseIterable {
  /// It shows a time before the floor.
  case behind
  /// It shows a time absurdly long after the floor.
  case ahead
}

/// What time it is, as far as this box can know.
public struct ClockJudgement: Hashable, Sendable {
  /// What every expiry is held against: the wall clock where it is believed, else the floor. Unix seconds.
  public let time: Int64
  /// What the wall clock shows.
  public let wall: Int64
  /// The earliest that it can be.
  public let floor: Int64
  /// Nil: the wall clock is believed.
  public let doubt: ClockDoubt?
}

extension TimeFloor {
  /// Judges the wall clock at this uptime.
  ///
  /// `previous` is the doubt so far: a clock that lagged must come closer than half the tolerance before it is believed
  /// again, so that one at the edge does not change its standing every second. `horizon` is what there is to measure
  /// from while there is no statement, see `horizon(_:)`; without either nothing is too far ahead.
  public func judge(
    wall: Int64, uptime: Int64, horizon: Int64? = nil, previous: ClockDoubt? = nil
  ) -> ClockJudgement {
    let floor = time(at: uptime)
    func judged(_ time: Int64, _ doubt: ClockDoubt?) -> ClockJudgement {
      ClockJudgement(time: time, wall: wall, floor: floor, doubt: doubt)
    }
    let allowed = previous == .behind ? TimeFloor.tolerance / 2 : TimeFloor.tolerance
    if wall < floor - allowed { return judged(floor, .behind) }
    if let latest = highest == nil ? horizon : floor, wall > latest + TimeFloor.absurd { return judged(floor, .ahead) }
    // A clock that lags within the tolerance is right enough, but it is not earlier than the floor.
    return judged(max(wall, floor), nil)
  }
}
