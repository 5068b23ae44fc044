internal import CSystemd
import Glibc
import Synchronization

/// Structured log lines: to the journal with their fields when systemd connected stderr to it, otherwise one line
/// each on stderr. Whatever a peer sent is escaped, so that it can't forge a line or reach a terminal.
public struct Log: Sendable {
  public enum Level: Int, Sendable, Comparable, CaseIterable, CustomStringConvertible {
    case error = 3
    case warning = 4
    case notice = 5
    case info = 6
    case debug = 7

    public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    public var description: String {
      switch self {
      case .error: "error"
      case .warning: "warning"
      case .notice: "notice"
      case .info: "info"
      case .debug: "debug"
      }
    }
    /// By its name in the configuration.
    public init?(_ name: String) {
      guard let level = Level.allCases.first(where: { $0.description == name }) else { return nil }
      self = level
    }
  }

  public static let shared = Log(destination: Log.stderrIsJournal ? .journal : .standardError)

  /// Lines above this level are dropped everywhere. Values as in syslog: a higher one says more.
  public static var threshold: Level {
    get { Level(rawValue: thresholdValue.load(ordering: .relaxed)) ?? .info }
    set { thresholdValue.store(newValue.rawValue, ordering: .relaxed) }
  }
  private static let thresholdValue = Atomic<Int>(Level.info.rawValue)

  public enum Destination: Sendable {
    case journal
    case standardError
    /// For tests and programs that keep their own log: gets each line without its line feed.
    case lines(@Sendable (String) -> Void)
  }

  private let destination: Destination

  public init(destination: Destination) { self.destination = destination }

  public func error(_ message: String, _ fields: [String: String] = [:]) { log(.error, message, fields) }
  public func warning(_ message: String, _ fields: [String: String] = [:]) { log(.warning, message, fields) }
  public func notice(_ message: String, _ fields: [String: String] = [:]) { log(.notice, message, fields) }
  public func info(_ message: String, _ fields: [String: String] = [:]) { log(.info, message, fields) }
  public func debug(_ message: String, _ fields: [String: String] = [:]) { log(.debug, message, fields) }

  public func log(_ level: Level, _ message: String, _ fields: [String: String] = [:]) {
    guard level <= Log.threshold else { return }
    switch destination {
    case .journal: Log.sendToJournal(level, message, fields)
    case .standardError:
      let line = Array((Log.line(level, message, fields) + "\n").utf8)
      // One write, so that lines of several threads don't mix.
      _ = write(2, line, line.count)
    case .lines(let take): take(Log.line(level, message, fields))
    }
  }

  /// `time level message key=value …`, keys sorted.
  static func line(_ level: Level, _ message: String, _ fields: [String: String]) -> String {
    var line = "\(timestamp()) \(level) \(escaped(message))"
    for (key, value) in fields.sorted(by: { $0.key < $1.key }) {
      let isPlain =
        !value.isEmpty && value == escaped(value, quoted: true) && !value.contains { $0 == " " || $0 == "=" }
      line += isPlain ? " \(key)=\(value)" : " \(key)=\"\(escaped(value, quoted: true))\""
    }
    return line
  }

  /// Control characters (C0, DEL, C1), line separators and direction overrides as \u{…}; between quotation marks
  /// also these and the backslash.
  static func escaped(_ text: String, quoted: Bool = false) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0x0A: result += "\\n"
      case 0x22 where quoted: result += "\\\""
      case 0x5C where quoted: result += "\\\\"
      case 0..<0x20, 0x7F...0x9F, 0x2028, 0x2029, 0x202A...0x202E, 0x2066...0x2069:
        result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private static func timestamp() -> String {
    let milliseconds = Clock.unixMilliseconds()
    var seconds = time_t(milliseconds / 1000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func pad(_ number: some BinaryInteger, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    return "\(pad(parts.tm_year + 1900, 4))-\(pad(parts.tm_mon + 1, 2))-\(pad(parts.tm_mday, 2))"
      + "T\(pad(parts.tm_hour, 2)):\(pad(parts.tm_min, 2)):\(pad(parts.tm_sec, 2)).\(pad(milliseconds % 1000, 3))Z"
  }

  /// JOURNAL_STREAM names the device and inode of the journal's socket (systemd.exec(5)).
  private static let stderrIsJournal: Bool = {
    guard let value = getenv("JOURNAL_STREAM") else { return false }
    var status = stat()
    return fstat(2, &status) == 0 && String(cString: value) == "\(status.st_dev):\(status.st_ino)"
  }()

  private static func sendToJournal(_ level: Level, _ message: String, _ fields: [String: String]) {
    var entries = ["MESSAGE=\(message)", "PRIORITY=\(level.rawValue)"]
    for (key, value) in fields {
      let name = key.utf8.map { byte -> UInt8 in
        switch byte {
        case 0x61...0x7A: byte - 0x20
        case 0x41...0x5A, 0x30...0x39: byte
        default: 0x5F
        }
      }
      entries.append("SKERRY_\(String(decoding: name, as: UTF8.self))=\(value)")
    }
    let buffers = entries.map { entry in
      let bytes = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: entry.utf8.count)
      _ = bytes.initialize(from: entry.utf8)
      return bytes
    }
    defer { for buffer in buffers { buffer.deallocate() } }
    let vector = buffers.map { iovec(iov_base: UnsafeMutableRawPointer($0.baseAddress), iov_len: $0.count) }
    sd_journal_sendv(vector, Int32(vector.count))
  }
}
