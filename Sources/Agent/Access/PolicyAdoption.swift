import Access
import Storage
import Trust

extension AccessControl {
  /// Puts another policy file in the place of the box's own, as if a person had edited it and reloaded: what a reload
  /// would refuse changes nothing, and beside a policy that the fleet signed it counts as far as its ceiling goes. The one
  /// before is kept beside it as `roles.json5.previous`. False when it is in force already.
  ///
  /// Throws `ConfigurationError` for a bad file, `AccessFailure` when it can't go on record, `StorageError`.
  public func adopt(_ bytes: [UInt8], from source: String) async throws -> Bool {
    try await changes.run { try await adoptAlone(bytes, source) }
  }

  private func adoptAlone(_ bytes: [UInt8], _ source: String) async throws -> Bool {
    let before = try DurableFile.read(policyFile, limit: 1 << 20)
    if before == bytes { return false }
    do {
      let file: Policy
      do { file = try Policy(parsing: bytes) } catch {
        throw ConfigurationError(description: "the policy file in \(source): \(error)")
      }
      let time = now()
      let merged = try state.withLock { try $0.composed(file: file, at: time) }.policy
      guard !losesAdministrators(merged) else {
        throw ConfigurationError(
          description: "the policy file in \(source): nobody who is there could give roles any more")
      }
      try await record(
        .role, "agent",
        [
          "action": "adopt", "outcome": "ok", "file": .string(policyFile), "source": .string(source),
          "sha256": .string(Digest(of: bytes).hex),
        ])
      if let before { try DurableFile.replace(policyFile + ".previous", with: before, mode: 0o644) }
      try DurableFile.replace(policyFile, with: bytes, mode: 0o644)
      try state.withLock { state in
        state.file = file
        try state.recompose(at: time)
        state.accounts = [:]
      }
      return true
    } catch let error as ConfigurationError {
      try? await record(
        .role, "agent",
        [
          "action": "adopt", "outcome": "refused", "source": .string(source),
          "reason": .string(error.description.brief),
        ])
      throw error
    }
  }
}
