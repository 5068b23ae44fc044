import Storage
import Synchronization
import Trust

/// Keyed digests of prompts for the audit log: within a calendar month (UTC) the same text gives the same digest on this
/// box, and says nothing to who has not that month's key, not even by guessing short texts. Once the key is destroyed it
/// says nothing to anybody.
public final class PromptDigester: Sendable {
  /// A digest, and the name of the key that it was made with.
  public struct Keyed: Sendable, Hashable {
    /// `hmac-sha256:` and 64 hexadecimal digits.
    public let digest: String
    /// `2026-11.3f2a9c1d`
    public let key: String
  }

  private let keys: PeriodKeys
  private let now: @Sendable () -> Int64
  private let today = Mutex<(day: Int64, key: PeriodKeys.Key)?>(nil)

  /// - Parameters:
  ///   - keysDirectory: the keys lie in its folder `prompt`.
  ///   - now: the believed time in Unix seconds.
  ///
  /// Throws a `StorageError`.
  public init(keysDirectory: String, now: @escaping @Sendable () -> Int64) throws {
    keys = try PeriodKeys(folder: keysDirectory + "/prompt")
    self.now = now
    // The one key of earlier versions ends with the month in which it was last used.
    let old = keysDirectory + "/prompt-digest.key"
    if DurableFile.exists(old) {
      try DurableFile.move(old, to: "\(keysDirectory)/prompt/\(PromptDigester.month(now())).once.key")
    }
  }

  /// Throws a `StorageError` when the month is new and its key can't be kept.
  public func digest(_ text: [UInt8]) throws -> Keyed {
    let day = now() / 86_400
    let key = try today.withLock { today in
      if let today, today.day == day { return today.key }
      let key = try keys.key(for: PromptDigester.month(day * 86_400))
      today = (day, key)
      return key
    }
    return Keyed(
      digest: "hmac-sha256:" + Hex.encode(HMACSHA256.authenticationCode(for: text, key: key.bytes)), key: key.name)
  }

  /// The names of the keys whose month ended so many days before this time, in Unix seconds.
  func over(days: Int, at now: Int64) throws -> [String] {
    let latest = PromptDigester.month(now - Int64(days) * 86_400)
    return try keys.names().filter { PeriodKeys.period(of: $0) < latest }
  }

  /// Destroys these keys. Throws a `StorageError`.
  func destroy(_ names: [String]) throws {
    try today.withLock { today in
      if names.contains(today?.key.name ?? "") { today = nil }
      try keys.destroy(names)
    }
  }

  private static func month(_ time: Int64) -> String { String(TrustedClock.text(time).prefix(7)) }
}
