import Agent
import Glibc
import Synchronization
import Trust

/// Durable appends to the audit log, beside what the disk itself can sync.
enum AuditBench {
  static let window = 2.0

  static func run() async throws {
    var synced: [Double] = []
    var one: [Double] = []
    var many: [Double] = []
    var waits: [Double] = []
    // Interleaved, so that a disk that slows down slows all three.
    for _ in 0..<3 {
      synced.append(try await withScratchFolder { try syncRate($0) })
      one.append(try await withScratchFolder { try await appends($0, writers: 1).rate })
      let together = try await withScratchFolder { try await appends($0, writers: 64) }
      many.append(together.rate)
      waits.append(percentile(together.waits, 0.99) * 1000)
    }
    let disk = median(synced)
    emit("disk.fdatasync", disk, "1/s")
    emit("audit.appends_1_writer", median(one), "1/s", against: disk)
    emit("audit.appends_64_writers", median(many), "1/s", against: disk)
    emit("audit.append_p99_64_writers", median(waits), "ms", against: 1000 / disk)
  }

  /// fdatasync after each 256 appended bytes, a record's usual size.
  private static func syncRate(_ folder: String) throws -> Double {
    let file = open("\(folder)/sync", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw BenchError(description: "can't write in \(folder)") }
    defer { close(file) }
    let record = [UInt8](repeating: 0x61, count: 256)
    var count = 0
    let clock = ContinuousClock()
    let start = clock.now
    while (clock.now - start).inSeconds < window {
      guard write(file, record, record.count) == record.count, fdatasync(file) == 0 else {
        throw BenchError(description: "fdatasync failed in \(folder)")
      }
      count += 1
    }
    return Double(count) / (clock.now - start).inSeconds
  }

  /// Acknowledged appends a second, and how many seconds each waited.
  private static func appends(_ folder: String, writers: Int) async throws -> (rate: Double, waits: [Double]) {
    let log = try AuditLog(directory: folder, key: SigningKey.generate(), origin: "skerry/audit/bench")
    defer { log.close() }
    let clock = ContinuousClock()
    let start = clock.now
    let waits = try await withThrowingTaskGroup(of: [Double].self) { group in
      for writer in 0..<writers {
        group.addTask {
          var waits: [Double] = []
          while (clock.now - start).inSeconds < window {
            let asked = clock.now
            _ = try await log.append(
              AuditEvent(
                kind: .decision, actor: "token:bench-\(writer)",
                fields: ["verb": "infer", "resource": "model:smollm2-135m", "allowed": true, "role": "chat"]))
            waits.append((clock.now - asked).inSeconds)
          }
          return waits
        }
      }
      return try await group.reduce(into: []) { $0 += $1 }
    }
    return (Double(waits.count) / (clock.now - start).inSeconds, waits)
  }
}
