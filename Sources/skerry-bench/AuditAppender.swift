import Agent
import Glibc
import Trust

/// Appends to a real audit log until it is killed, and says on standard output what was acknowledged: `open SIZE ROOT`, then
/// `ack INDEX RECORD`, `head SIZE ROOT` for each head that was signed, and `refused REASON`. Tests kill it, and take from its
/// disk what was not synced.
enum AuditAppender {
  static func run(_ folder: String, writers: Int) async throws {
    // The same key each time, as the box has.
    guard let key = SigningKey(seed: [UInt8](repeating: 7, count: 32)) else { return }
    let log = try AuditLog(
      directory: folder, key: key, origin: "skerry/audit/appender", settings: .init(reserve: 1 << 16))
    let opened = log.head()
    say("open \(opened.size) \(opened.root.hex)")
    await withTaskGroup(of: Void.self) { group in
      for writer in 0..<writers { group.addTask { await append(to: log, writer) } }
    }
  }

  private static func append(to log: AuditLog, _ writer: Int) async {
    var sequence: Int64 = 0
    while true {
      sequence += 1
      let padding = String(repeating: "x", count: Int.random(in: 0..<900))
      do {
        let index = try await log.append(
          AuditEvent(
            kind: .decision, actor: "token:writer-\(writer)",
            fields: [
              "verb": "infer", "resource": .string("model:\(sequence)"), "allowed": true, "rule": .string(padding),
            ]))
        guard let record = try log.entries(from: index, limit: 1).first else { continue }
        say("ack \(index) \(String(decoding: record.encoded(), as: UTF8.self))")
        if Int.random(in: 0..<16) == 0, let head = try? Checkpoint(noteText: log.signedHead().text) {
          say("head \(head.size) \(head.root.hex)")
        }
      } catch {
        say("refused \(error)")
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  /// In one piece: a line that is there is a line that was said.
  private static func say(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    guard write(1, bytes, bytes.count) == bytes.count else { exit(1) }
  }
}
