internal import CEdit
import Synchronization

/// Lines that a person types at a terminal: with the keys of emacs (or those of `~/.editrc`), a history with the arrow keys
/// and a search by Ctrl-R. libedit does the work; there is one editor in a process, because there is one terminal.
public final class LineEditor: Sendable {
  /// How one reading ended.
  public enum Reading: Sendable, Equatable {
    /// Pasted text may hold line feeds.
    case line(String)
    /// Ctrl-D on an empty line, or the terminal has gone.
    case end
    /// Ctrl-C: the line was given up.
    case interrupted
  }

  /// Entries that the history holds.
  public static let historySize = 1000

  private let editor: Mutex<Handle>
  private let history: HistoryFile?

  private struct Handle: @unchecked Sendable { let pointer: OpaquePointer }

  /// On standard input and output. Nil when they are no terminal that can be edited on.
  ///
  /// - Parameters:
  ///   - program: the name that `~/.editrc` may speak of.
  ///   - history: where lines are kept for the next time; nil: nowhere.
  public init?(program: String, history: HistoryFile?) {
    guard let pointer = skerry_editor_open(program, Int32(LineEditor.historySize)) else { return nil }
    editor = Mutex(Handle(pointer: pointer))
    self.history = history
    for entry in history?.newest(LineEditor.historySize) ?? [] { skerry_editor_remember(pointer, entry) }
  }

  deinit { editor.withLock { skerry_editor_close($0.pointer) } }

  /// Reads a line; the thread waits for it.
  public func read(_ prompt: String) -> Reading {
    editor.withLock { editor in
      var line: UnsafePointer<CChar>?
      switch skerry_editor_read(editor.pointer, prompt, &line) {
      case SKERRY_LINE: return line.map { .line(String(cString: $0)) } ?? .end
      case SKERRY_INTERRUPTED: return .interrupted
      default: return .end
      }
    }
  }

  /// Puts an entry into the history, and into its file. Throws `HistoryError`; the entry is in the history all the same.
  public func remember(_ entry: String) throws(HistoryError) {
    editor.withLock { skerry_editor_remember($0.pointer, entry) }
    try history?.append(entry)
  }

  /// The terminal as it was before the first line, for who ends the program from a signal's handler.
  public static func restoreTerminal() { skerry_terminal_restore() }
}
