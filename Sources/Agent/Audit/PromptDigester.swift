import Storage
import Trust

/// Keyed digests of prompts and answers for the audit log: the same text gives the same digest on this box, and says
/// nothing to who has not the box's key, not even by guessing short texts.
public struct PromptDigester: Sendable {
  private let key: [UInt8]

  /// Reads the key from `prompt-digest.key` in this folder, or makes it. Throws a `StorageError`.
  public init(keysDirectory: String) throws {
    let path = keysDirectory + "/prompt-digest.key"
    if let kept = try DurableFile.read(path, limit: 4096) {
      guard kept.count == 32 else { throw StorageError.damaged(path: path, reason: "it has not 32 bytes") }
      key = kept
    } else {
      try DurableFile.makeDirectory(keysDirectory)
      let made = SecureRandom.bytes(32)
      try DurableFile.replace(path, with: made)
      key = made
    }
  }

  /// `hmac-sha256:` and 64 hexadecimal digits.
  public func digest(_ text: some Sequence<UInt8>) -> String {
    "hmac-sha256:" + Hex.encode(HMACSHA256.authenticationCode(for: Array(text), key: key))
  }

  public func digest(_ text: String) -> String { digest(text.utf8) }
}
