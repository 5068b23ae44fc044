internal import Glibc

/// One of the standard streams, as a person may be looking at it.
public struct Terminal: Sendable {
  private let descriptor: Int32

  public static let input = Terminal(descriptor: STDIN_FILENO)
  public static let output = Terminal(descriptor: STDOUT_FILENO)
  public static let error = Terminal(descriptor: STDERR_FILENO)

  public var isTTY: Bool { isatty(descriptor) == 1 }

  /// Columns: the terminal's, or `COLUMNS`, or 80.
  public var width: Int {
    var size = winsize()
    if isTTY, ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 { return Int(size.ws_col) }
    return Program.environment("COLUMNS").flatMap { Int($0) }.map { max(20, $0) } ?? 80
  }

  /// Whether colour is welcome: a terminal that can, and no `NO_COLOR` (no-color.org).
  public var colour: Bool {
    isTTY && Program.environment("NO_COLOR") == nil && Program.environment("TERM") != "dumb"
  }

  public enum Style: String, Sendable {
    case bold = "1"
    case dim = "2"
    case red = "31"
    case green = "32"
    case yellow = "33"
  }

  /// The text in a style where colour is welcome, and as it is elsewhere.
  public func styled(_ text: String, _ style: Style) -> String {
    colour ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
  }
}
