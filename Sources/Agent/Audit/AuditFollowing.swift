import Fleet
import Host
import Trust

extension AuditLog {
  /// Hands on the records that are asked for, one a line, from `first` on and then as they are written, until `write` throws:
  /// the reader has gone. It ends when the reader may read no longer. Every 10 seconds without a record an empty line, so
  /// that it is noticed when nobody reads.
  public func follow(
    _ selection: AuditSelection, from first: UInt64, while isAllowed: () async -> Bool = { true },
    to write: ([UInt8]) async throws -> Void
  ) async throws {
    var next = first
    var spoke = Clock.monotonic()
    while await isAllowed() {
      var lines: [UInt8] = []
      for entry in try log.read(from: next, limit: 256) {
        next = entry.index + 1
        if !selection.isEverything {
          guard let record = try? JSONValue(parsing: entry.record), selection.matches(record) else { continue }
        }
        lines += entry.record + [0x0A]
      }
      if lines.isEmpty, Clock.monotonic() - spoke > .seconds(10) { lines = [0x0A] }
      if !lines.isEmpty {
        try await write(lines)
        spoke = Clock.monotonic()
      }
      if next >= head().size { try await Task.sleep(for: .milliseconds(200)) }
    }
  }
}
