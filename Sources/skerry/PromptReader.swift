/// Puts lines together to what is asked: a line by itself, several between two `"""`, or lines of which each but the last
/// ends in a backslash.
struct PromptReader: Equatable {
  private enum State: Equatable {
    case empty
    case quoted([String])
    case continued([String])
  }
  private var state = State.empty

  /// Whether a line more is wanted.
  var isOpen: Bool { state != .empty }

  /// Takes a line; returns the prompt when it is whole.
  mutating func take(_ line: String) -> String? {
    switch state {
    case .empty: return begin(line)
    case .quoted(let lines):
      guard line.hasSuffix("\"\"\"") else {
        state = .quoted(lines + [line])
        return nil
      }
      state = .empty
      let last = String(line.dropLast(3))
      return (last.isEmpty ? lines : lines + [last]).joined(separator: "\n")
    case .continued(let lines):
      guard line.hasSuffix("\\") else {
        state = .empty
        return (lines + [line]).joined(separator: "\n")
      }
      state = .continued(lines + [String(line.dropLast())])
      return nil
    }
  }

  private mutating func begin(_ line: String) -> String? {
    if line.hasPrefix("\"\"\"") {
      let rest = String(line.dropFirst(3))
      if rest.hasSuffix("\"\"\"") { return String(rest.dropLast(3)) }
      state = .quoted(rest.isEmpty ? [] : [rest])
      return nil
    }
    guard line.hasSuffix("\\") else { return line }
    state = .continued([String(line.dropLast())])
    return nil
  }

  /// Forgets what was begun.
  mutating func cancel() { state = .empty }
}
