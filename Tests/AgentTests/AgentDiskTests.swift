import Glibc
import Storage
import Testing
import Trust

@testable import Agent

/// A small file system in memory; only root may mount one.
private final class SmallDisk: Sendable {
  let path = "/tmp/skd-\(Hex.encode(SecureRandom.bytes(4)))"

  init?() {
    guard mkdir(path, 0o700) == 0 else { return nil }
    guard mount("tmpfs", path, "tmpfs", 0, "size=4m") == 0 else {
      rmdir(path)
      return nil
    }
  }

  deinit {
    umount2(path, Int32(MNT_DETACH))
    rmdir(path)
  }

  static let canMount = SmallDisk() != nil

  func fill() {
    let descriptor = open(path + "/ballast", O_WRONLY | O_CREAT, 0o600)
    let page = [UInt8](repeating: 1, count: 4096)
    while write(descriptor, page, page.count) > 0 {}
    close(descriptor)
  }

  func free() { unlink(path + "/ballast") }

  func setReadOnly(_ isReadOnly: Bool) -> Bool {
    mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT) | (isReadOnly ? UInt(MS_RDONLY) : 0), "size=4m")
      == 0
  }
}

/// Disks that are full or can't be written: told plainly, nothing done, nothing damaged.
@Suite(.serialized, .enabled(if: SmallDisk.canMount, "mounting needs root")) struct AgentDiskTests {
  private func source(_ scratch: Scratch, _ disk: SmallDisk) throws -> ConfigurationSource {
    try AgentBox.source(scratch, ["stateDirectory": disk.path + "/state"])
  }

  private func failure(_ source: ConfigurationSource) async -> AgentStartError? {
    do {
      await (try await Agent.start(source)).stop()
      return nil
    } catch { return error }
  }

  @Test func onAFullDiskNothingHappensUntilThereIsRoom() async throws {
    let disk = try #require(SmallDisk())
    let box = try await AgentBox.start(settings: ["stateDirectory": disk.path + "/state"])
    disk.fill()
    // What is left of a last page may take a few records more; then nothing does.
    var refusals: [JSONValue] = []
    for number in 0..<80 {
      let subject = JSONValue.string("user:u\(number)")
      let answer = try await box.ask("POST", "/skerry/v1/bindings", ["role": "chat", "subject": subject])
      guard answer.status != 201 else { continue }
      #expect(answer.status == 503)
      #expect(answer.json["error"]?["message"]?.string?.contains("no space left") == true)
      refusals.append(answer.json["error"]?["code"] ?? .null)
    }
    #expect(refusals.last == "audit_unavailable")
    // Reading is an effect too: who reads is on record.
    #expect(try await box.ask("GET", "/skerry/v1/roles").status == 503)
    #expect(await box.agent.answersItself())
    disk.free()
    let roles = try await box.ask("GET", "/skerry/v1/roles")
    #expect(roles.status == 200)
    let bound = roles.json["bindings"]?.array?.filter { $0["subject"]?.string?.hasPrefix("user:u") == true }
    #expect(bound?.count == 80 - refusals.count)
    #expect(
      try await box.ask("POST", "/skerry/v1/bindings", ["role": "chat", "subject": "user:last"]).status == 201)
    await box.stop()
  }

  @Test func aFullDiskAtTheStartIsToldAndHarmsNothing() async throws {
    let disk = try #require(SmallDisk())
    let scratch = try Scratch()
    #expect(await failure(try source(scratch, disk)) == nil)
    disk.fill()
    let error = try #require(await failure(try source(scratch, disk)))
    #expect(error.exitStatus == 74)
    #expect(error.description.contains("no space left"))
    disk.free()
    #expect(await failure(try source(scratch, disk)) == nil)
  }

  @Test func aReadOnlyStateIsToldAndHarmsNothing() async throws {
    let disk = try #require(SmallDisk())
    let scratch = try Scratch()
    #expect(await failure(try source(scratch, disk)) == nil)
    try #require(disk.setReadOnly(true))
    let error = try #require(await failure(try source(scratch, disk)))
    #expect(error.exitStatus == 74)
    #expect(error.description.contains("read-only"))
    try #require(disk.setReadOnly(false))
    #expect(await failure(try source(scratch, disk)) == nil)
  }
}
