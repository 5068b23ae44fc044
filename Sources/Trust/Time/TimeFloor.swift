import FoundationEssentials

/// The earliest that it can be: what signed statements have said, and the time that has certainly passed since.
///
/// Pure: statements and readings in, a bound and a judgement out. The box's wall clock never raises the floor, and no
/// statement lowers it. It sinks only when a root takes away the key behind it.
///
/// Time that passed is counted in the box's uptime: the seconds, over all its starts, for which its monotonic clock is
/// known to have run. A box that lay on a shelf has aged more than that, never less.
public struct TimeFloor: Codable, Hashable, Sendable {
  /// A statement and the uptime at which it came.
  public struct Entry: Codable, Hashable, Sendable {
    public let statement: TimeStatement
    public let uptime: Int64

    /// What to add to the uptime for the earliest that it can be.
    var offset: Int64 { statement.time - uptime }
  }

  /// What became of a statement.
  public enum Verdict: Hashable, Sendable {
    /// The floor is higher than it was.
    case raised
    /// True, and nothing new.
    case known
    /// Nobody whose word counts has made it.
    case unknownKey
    /// Later than anything that was signed offline makes plausible; not believed.
    case implausible(latest: Int64)
  }

  /// No box was made before 2024: an earlier clock is wrong, whatever anybody says.
  public static let earliest: Int64 = 1_704_067_200
  /// So far the wall clock may lag behind the floor before it counts as wrong, in seconds: clocks drift, and a hub's
  /// may run ahead a little.
  public static let tolerance: Int64 = 600
  /// A wall clock so far ahead of the floor is absurd, in seconds: three years of 365 days. The floor rises with every
  /// sync and every hour of uptime, so that only a box that was switched off for so long has a right clock doubted.
  public static let absurd: Int64 = 3 * 365 * 86_400
  /// So long after the last expiry that was signed offline a hub may still state the time and be believed, in seconds:
  /// 366 days, for an owner who is late with the next root.
  public static let slack: Int64 = 366 * 86_400
  /// One statement for each set of keys, and no more than these.
  static let limit = 16

  /// The highest statement of each set of keys.
  public private(set) var entries: [Entry] = []

  public init() {}

  /// The entry that the floor stands on; nil before the first.
  public var highest: Entry? { entries.max { $0.offset < $1.offset } }

  /// The earliest that it can be at this uptime, in Unix seconds.
  public func time(at uptime: Int64) -> Int64 {
    max(TimeFloor.earliest, highest?.offset ?? TimeFloor.earliest) + max(uptime, 0)
  }

  /// The latest that an online key may state the time and be believed: `slack` after the last expiry of what is signed
  /// offline. A stolen online key can promise itself any future; the owners' root and targets can't be made to.
  public static func horizon(_ offlineSigned: some Sequence<TUFDocument>) -> Int64 {
    let last = offlineSigned.map { Int64($0.expires.timeIntervalSince1970) }.max() ?? earliest
    return last + slack
  }

  /// Takes a statement whose signatures were verified.
  ///
  /// - `uptime`: the box's, now.
  /// - `authorities`: who may state the time by the roots that are trusted now.
  /// - `horizon`: see `horizon(_:)`.
  public mutating func learn(
    _ statement: TimeStatement, uptime: Int64, authorities: [TimeAuthority], horizon: Int64
  ) -> Verdict {
    guard TimeStatement.possible.contains(statement.time), uptime >= 0,
      authorities.contains(where: { $0.vouches(for: statement.keys) })
    else { return .unknownKey }
    guard statement.time <= horizon else { return .implausible(latest: horizon) }
    let entry = Entry(statement: statement, uptime: uptime)
    let before = time(at: uptime)
    if let index = entries.firstIndex(where: { $0.statement.keys == statement.keys }) {
      if entry.offset > entries[index].offset { entries[index] = entry }
    } else {
      entries.append(entry)
      if entries.count > TimeFloor.limit { entries.sort { $0.offset > $1.offset } }
      entries = Array(entries.prefix(TimeFloor.limit))
    }
    return time(at: uptime) > before ? .raised : .known
  }

  /// Forgets the statements of keys that no trusted root lists any more, and returns them: fast-forward recovery, as
  /// the specification has it for metadata (5.3.11), for time.
  public mutating func forget(allBut authorities: [TimeAuthority]) -> [TimeStatement] {
    let gone = entries.filter { entry in !authorities.contains { $0.vouches(for: entry.statement.keys) } }
    entries.removeAll(where: gone.contains)
    return gone.map(\.statement)
  }

  private enum CodingKeys: String, CodingKey { case entries }

  /// Reads what was kept; entries that can't be are left out.
  public init(from decoder: any Decoder) throws {
    let kept = try decoder.container(keyedBy: CodingKeys.self).decode([Entry].self, forKey: .entries)
    let sound = kept.filter {
      TimeStatement.possible.contains($0.statement.time) && TimeStatement.possible.contains($0.uptime)
    }
    entries = Array(sound.sorted { $0.offset > $1.offset }.prefix(TimeFloor.limit))
  }
}
