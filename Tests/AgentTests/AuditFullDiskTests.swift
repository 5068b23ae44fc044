import Agent
import Fleet
import Glibc
import Storage
import Testing
import Trust

/// A file system of 256 KiB in memory; only root may mount one.
private final class TinyDisk {
  let path = "/tmp/skerry-tiny-\(Hex.encode(SecureRandom.bytes(6)))"

  init?() {
    guard mkdir(path, 0o700) == 0 else { return nil }
    guard mount("tmpfs", path, "tmpfs", 0, "size=256k") == 0 else {
      rmdir(path)
      return nil
    }
  }

  deinit {
    umount2(path, Int32(MNT_DETACH))
    rmdir(path)
  }

  static let canMount: Bool = TinyDisk() != nil

  /// Takes what room is left.
  func fill() {
    let descriptor = open(path + "/ballast", O_WRONLY | O_CREAT, 0o600)
    let page = [UInt8](repeating: 1, count: 4096)
    while write(descriptor, page, page.count) > 0 {}
    close(descriptor)
  }

  func free() { unlink(path + "/ballast") }
}

@Suite(.enabled(if: TinyDisk.canMount, "mounting needs root")) struct AuditFullDiskTests {
  @Test func aFullDiskRefusesAndMendsItself() async throws {
    let disk = try #require(TinyDisk())
    let key = SigningKey.generate()
    let log = try AuditLog(directory: disk.path + "/audit", key: key, origin: "skerry/x")
    let event = AuditEvent(
      kind: .decision, actor: "a", fields: ["allowed": true, "reason": .string(String(repeating: "x", count: 700))])
    for round in 0..<3 {
      for _ in 0..<5 { try await log.append(event) }
      disk.fill()
      // What is left of the last page may take a few more; then it is full.
      var size = log.head().size
      var refused = 0
      for _ in 0..<40 {
        do {
          size = try await log.append(event) + 1
        } catch {
          refused += 1
          let cause = try #require(error.cause as? StorageError)
          #expect(cause.isTransient, "\(cause)")
        }
      }
      #expect(refused > 20, "round \(round): the disk was never full")
      // On a busy machine records of the outage come in between.
      #expect(log.head().size >= size)
      disk.free()
      #expect(try await log.append(event) >= size)
    }
    // Nothing that was refused is in the log, and it opens as it was left.
    let again = try AuditLog(directory: disk.path + "/audit", key: key, origin: "skerry/x")
    #expect(again.head() == log.head() && again.recovery.tornBytes == 0)
    var verifier = AuditVerifier(deviceKey: log.deviceKey)
    try await again.export { verifier.push($0) }
    let verdict = verifier.finish()
    #expect(verdict.isValid, "\(verdict)")
  }
}
