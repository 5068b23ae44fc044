/// Names of metadata files in a repository with consistent snapshots: `7.people.json` is version 7 of `people`.
public enum TUFFileName {
  /// Whether the name may be a delegated role's: letters, digits and `-_.`, so that it is a plain file name on every
  /// server.
  public static func isRole(_ name: String) -> Bool {
    (1...128).contains(name.utf8.count) && !name.hasPrefix(".") && TUFRole(rawValue: name) == nil
      && name != TUFStagedFile.director
      && name.utf8.allSatisfy {
        (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
          || [0x2D, 0x2E, 0x5F].contains($0)
      }
  }

  public static let rule =
    "letters, digits, “-”, “_” and “.”, at most 128, and none of root, targets, snapshot, timestamp, director"

  /// Role and version; nil for any other name, `timestamp.json` among them.
  public static func parse(_ fileName: String) -> (role: String, version: Int64)? {
    guard fileName.hasSuffix(".json"), let dot = fileName.firstIndex(of: "."), let version = Int64(fileName[..<dot]),
      version > 0, String(version) == fileName[..<dot]
    else { return nil }
    let rest = fileName[fileName.index(after: dot)...]
    guard rest.count > ".json".count else { return nil }
    let role = String(rest.dropLast(".json".count))
    return role != "timestamp" && (isRole(role) || TUFRole(rawValue: role) != nil) ? (role, version) : nil
  }
}
