import Synchronization

/// Shows how far a long piece of work has come, on standard error: a bar that redraws itself on a terminal, and a plain
/// line every two seconds elsewhere, so that a log stays readable. Work that is done within two seconds shows no line.
public final class ProgressBar: Sendable {
  /// What is counted.
  public enum Unit: Sendable { case bytes, items }

  private struct State {
    var label = ""
    var started: ContinuousClock.Instant
    var lastDrawn: ContinuousClock.Instant?
    var drawnWidth = 0
  }
  private let state: Mutex<State>
  private let live: Bool
  private let hidden: Bool
  private let columns: @Sendable () -> Int
  private let write: @Sendable (String) -> Void
  private let now: @Sendable () -> ContinuousClock.Instant

  /// A bar on standard error; `hidden` shows nothing at all.
  public convenience init(hidden: Bool = false) {
    self.init(
      hidden: hidden, live: Terminal.error.isTTY, columns: { Terminal.error.width }, write: { Voice.draw($0) },
      now: { ContinuousClock.now })
  }

  init(
    hidden: Bool = false, live: Bool, columns: @escaping @Sendable () -> Int,
    write: @escaping @Sendable (String) -> Void, now: @escaping @Sendable () -> ContinuousClock.Instant
  ) {
    self.hidden = hidden
    self.live = live
    self.columns = columns
    self.write = write
    self.now = now
    state = Mutex(State(started: now()))
  }

  /// Tells how much is done. A new label starts a new bar; a total of 0 is one that is not known.
  public func update(_ label: String, done: UInt64, total: UInt64, unit: Unit = .bytes) {
    guard !hidden else { return }
    state.withLock { state in
      let time = now()
      if state.label != label {
        if live && state.drawnWidth > 0 { write("\n") }
        state = State(label: label, started: time, lastDrawn: live ? nil : time)
      }
      let interval: Duration = live ? .milliseconds(100) : .seconds(2)
      let finished = total > 0 && done >= total && live
      if !finished, let last = state.lastDrawn, time - last < interval { return }
      state.lastDrawn = time
      let line = Self.line(
        label, done: done, total: total, unit: unit, elapsed: time - state.started, width: live ? columns() - 1 : 0)
      if live {
        write("\r" + line + String(repeating: " ", count: max(0, state.drawnWidth - line.count)))
        state.drawnWidth = line.count
      } else {
        write(line + "\n")
      }
    }
  }

  /// Leaves the bar as it is and goes to the next line, so that other words can follow.
  public func finish() {
    guard !hidden, live else { return }
    state.withLock { state in
      if state.drawnWidth > 0 { write("\n") }
      state = State(started: now())
    }
  }

  /// One state of the bar. A width of 0 leaves the drawn bar out.
  static func line(
    _ label: String, done: UInt64, total: UInt64, unit: Unit = .bytes, elapsed: Duration, width: Int
  ) -> String {
    func text(_ count: UInt64) -> String { unit == .bytes ? Readable.bytes(count) : "\(count)" }
    let label = Voice.printable(label)
    let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
    let speed = seconds >= 1 ? Double(done) / seconds : 0
    var facts = text(done)
    var fraction = 0.0
    if total > 0 {
      fraction = min(1, Double(done) / Double(total))
      facts += " of \(text(total)) \(Int(fraction * 100))%"
    }
    if speed >= 1 {
      facts += " \(text(UInt64(speed)))/s"
      if total > done { facts += " \(Readable.seconds(Int64((Double(total - done) / speed).rounded(.up)))) left" }
    }
    let room = width - label.count - facts.count - 4
    guard width > 0, total > 0, room >= 8 else {
      let line = "\(label) \(facts)"
      return width > 0 ? String(line.prefix(width)) : line
    }
    let cells = min(room, 40)
    let full = Int(Double(cells) * fraction)
    return "\(label) [\(String(repeating: "#", count: full))\(String(repeating: "-", count: cells - full))] \(facts)"
  }
}
