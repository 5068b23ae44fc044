import Storage
import Synchronization
import Trust

/// Secret keys of 256 bits that are good for one period each, every one in a file of its own, so that destroying a key makes
/// worthless what was made with it and nothing else.
///
/// A key is named `PERIOD.SUFFIX`; the suffix is random. When the clock is set back into a period whose key was destroyed,
/// the period gets another key with another name: nothing brings a destroyed one back.
final class PeriodKeys: Sendable {
  struct Key: Sendable, Hashable {
    /// `2026-11.3f2a9c1d`
    let name: String
    let bytes: [UInt8]

    var period: Substring { PeriodKeys.period(of: name) }
  }

  private static let ending = ".key"
  private let folder: String
  /// The keys in use, by period.
  private let known = Mutex<[String: Key]>([:])

  /// What an interrupted write left is destroyed. Throws a `StorageError`.
  init(folder: String) throws {
    self.folder = folder
    try DurableFile.makeDirectory(folder)
    for file in try DurableFile.names(in: folder) where !file.hasSuffix(PeriodKeys.ending) {
      try DurableFile.destroy(folder + "/" + file)
    }
  }

  /// The period's key. A new one is on disk before it is used. Throws a `StorageError`.
  func key(for period: String) throws -> Key {
    try known.withLock { known in
      if let key = known[period] { return key }
      let kept = try names().first { PeriodKeys.period(of: $0) == period }
      let key: Key
      if let kept, let bytes = try read(kept) {
        key = Key(name: kept, bytes: bytes)
      } else {
        key = Key(name: "\(period).\(Hex.encode(SecureRandom.bytes(4)))", bytes: SecureRandom.bytes(32))
        try DurableFile.replace(path(key.name), with: key.bytes)
      }
      // What is asked for is today's; keys of other days are read when somebody wants them.
      known[period] = key
      if known.count > 64 { known = [period: key] }
      return key
    }
  }

  /// The key of this name; nil: it was destroyed, or never was. Throws a `StorageError`.
  func key(named name: String) throws -> Key? {
    guard try names().contains(name), let bytes = try read(name) else { return nil }
    return Key(name: name, bytes: bytes)
  }

  /// The names of all keys, sorted.
  func names() throws -> [String] {
    try DurableFile.names(in: folder).compactMap {
      $0.hasSuffix(PeriodKeys.ending) ? String($0.dropLast(PeriodKeys.ending.count)) : nil
    }
  }

  /// Destroys these keys. One that is gone already is no error. Throws a `StorageError`.
  func destroy(_ names: [String]) throws {
    try known.withLock { known in
      for name in names {
        known = known.filter { $0.value.name != name }
        try DurableFile.destroy(path(name))
      }
    }
  }

  static func period(of name: String) -> Substring { name[..<(name.lastIndex(of: ".") ?? name.endIndex)] }

  private func path(_ name: String) -> String { "\(folder)/\(name)\(PeriodKeys.ending)" }

  private func read(_ name: String) throws -> [UInt8]? {
    guard let bytes = try DurableFile.read(path(name), limit: 4096) else { return nil }
    guard bytes.count == 32 else { throw StorageError.damaged(path: path(name), reason: "it has not 32 bytes") }
    return bytes
  }
}
