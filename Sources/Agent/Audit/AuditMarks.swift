import Host
import Storage
import Trust

/// When how many entries were there, by the believed time: what entries grow old by. Their own times are those of whatever
/// clock the box had as they were written.
///
/// A time that leaps within one start of the machine makes nothing older: the marks leap with it.
struct AuditMarks: Codable, Sendable, Hashable {
  struct Mark: Codable, Sendable, Hashable {
    var size: UInt64
    /// Unix seconds; no entry before `size` is younger.
    var time: Int64
  }

  /// For how long the machine has been running.
  struct Running: Codable, Sendable, Hashable {
    /// Another text after each start of the machine.
    var boot: String
    var seconds: Int64

    static func now() -> Running { Running(boot: Clock.bootID(), seconds: Int64(Clock.monotonic() / .seconds(1))) }
  }

  private struct Look: Codable, Sendable, Hashable {
    var time: Int64
    var running: Running
  }

  /// A clock that shows less, 2025-01-01, has never been set: nobody ran this program then.
  static let earliest: Int64 = 1_735_689_600
  /// Slewing and whole seconds are no leap.
  private static let tolerance: Int64 = 600
  /// More marks than this tell the ages no better.
  private static let most: Int64 = 256

  private(set) var marks: [Mark] = []
  private var look: Look?

  init() {}

  /// Looks at a log of `size` entries at the time `now`.
  ///
  /// - Parameters:
  ///   - running: nil: nothing is known of leaps.
  ///   - seconds: for how long entries are kept.
  mutating func see(size: UInt64, at now: Int64, running: Running?, keeping seconds: Int64) {
    guard now >= AuditMarks.earliest else { return }
    if let running {
      if let look, look.running.boot == running.boot {
        let leap = (now - look.time) - (running.seconds - look.running.seconds)
        if abs(leap) > AuditMarks.tolerance {
          for at in marks.indices { marks[at].time = min(marks[at].time + leap, now) }
        }
      }
      look = Look(time: now, running: running)
    }
    let pause = max(3600, seconds / AuditMarks.most)
    guard marks.last.map({ $0.size < size && now >= $0.time + pause }) ?? (size > 0) else { return }
    marks.append(Mark(size: size, time: now))
  }

  /// So many entries were there before this time.
  func size(before time: Int64) -> UInt64 { marks.last { $0.time < time }?.size ?? 0 }

  /// Forgets what tells only of entries before this one.
  mutating func forget(before first: UInt64) { marks.removeAll { $0.size <= first } }

  /// Those of a log; one that can't be read begins anew, and entries stay longer.
  static func load(_ path: String) throws(StorageError) -> AuditMarks {
    guard let bytes = try DurableFile.read(path, limit: 1 << 20),
      let found = try? JSONValue(parsing: bytes).decoded(as: AuditMarks.self),
      found.marks.allSatisfy({ TimeStatement.possible.contains($0.time) })
    else { return AuditMarks() }
    return found
  }

  func save(_ path: String) throws { try DurableFile.replace(path, with: try JSONValue(encoding: self).encoded()) }
}
