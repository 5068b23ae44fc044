import Trust

/// The numbers that one sender has used: each is taken once, and late ones only while they are near the highest
/// (a sliding window, as RFC 4303 §3.4.3 has it). Bounded memory, for requests that overtake each other.
public struct ReplayWindow: Hashable, Sendable {
  /// How far behind the highest number a request may come.
  public static let width = 256

  private var highest: UInt64 = 0
  /// One bit for each of the last `width` numbers, by number modulo `width`.
  private var taken = [UInt64](repeating: 0, count: width / 64)

  public init() {}

  /// Takes the number; false when it was taken before, is too old to tell, or is 0.
  public mutating func take(_ number: UInt64) -> Bool {
    guard number > 0 else { return false }
    let width = UInt64(ReplayWindow.width)
    if number > highest {
      if number - highest >= width {
        for word in taken.indices { taken[word] = 0 }
      } else {
        for passed in highest + 1...number { set(passed, to: false) }
      }
      highest = number
    } else if highest - number >= width || isSet(number) {
      return false
    }
    set(number, to: true)
    return true
  }

  private func isSet(_ number: UInt64) -> Bool {
    let bit = number % UInt64(ReplayWindow.width)
    return taken[Int(bit / 64)] >> (bit % 64) & 1 == 1
  }

  private mutating func set(_ number: UInt64, to value: Bool) {
    let bit = number % UInt64(ReplayWindow.width)
    if value { taken[Int(bit / 64)] |= 1 << (bit % 64) } else { taken[Int(bit / 64)] &= ~(1 << (bit % 64)) }
  }
}

/// The sessions that neighbours have opened here. A session's name is drawn by this box at random and signed in each of
/// its requests, so that a request recorded before a restart, or meant for another box, is worth nothing: no clock and
/// no disk are needed against replay.
public struct SiteSessions: Sendable {
  public enum Verdict: Hashable, Sendable {
    case admitted
    /// It was never opened, or newer ones have taken its place: open another.
    case unknown
    case replayed
  }

  /// Sessions of one neighbour; the oldest goes when there is one more.
  public static let perNeighbour = 4

  private struct Session: Sendable {
    let name: String
    var window = ReplayWindow()
  }

  private var sessions: [VerifyingKey: [Session]] = [:]

  public init() {}

  public mutating func open(_ name: String, for box: VerifyingKey) {
    sessions[box, default: []].append(Session(name: name))
    if let count = sessions[box]?.count, count > SiteSessions.perNeighbour { sessions[box]?.removeFirst() }
  }

  /// Whether this box's request may be answered; its number is then used up.
  public mutating func admit(_ name: String?, from box: VerifyingKey, sequence: UInt64) -> Verdict {
    guard let at = sessions[box]?.firstIndex(where: { $0.name == name }) else { return .unknown }
    return sessions[box]?[at].window.take(sequence) == true ? .admitted : .replayed
  }
}
