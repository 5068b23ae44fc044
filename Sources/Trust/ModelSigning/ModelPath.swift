/// The names of a model's files inside its folder (OpenSSF Model Signing 1.0, §6.1.2).
public enum ModelPath {
  /// How a model that is a single file is called in its own manifest. The specification's text asks for the file's name
  /// (§6.1.2, 5); every signer that was released writes, and every verifier expects, what Python's path arithmetic makes
  /// of it. Skerry writes this one and reads both.
  public static let singleFile = "."

  /// What is left out unless it is asked for (§6.2): what git keeps beside a model.
  public static let git = [".git", ".gitattributes", ".github", ".gitignore"]

  /// A relative path in its one spelling: no empty part, no `.` and no `..`, no NUL, at most 4096 bytes.
  public static func isCanonical(_ path: some StringProtocol) -> Bool {
    !path.isEmpty && path.utf8.count <= 4096 && !path.utf8.contains(0)
      && path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { isPlainPart($0) }
  }

  /// The path with `.` and doubled separators taken out; nil when it is absolute, leaves the folder or is the folder.
  public static func canonical(_ path: some StringProtocol) -> String? {
    guard !path.hasPrefix("/"), !path.utf8.contains(0) else { return nil }
    let parts = path.split(separator: "/").filter { $0 != "." }
    guard !parts.isEmpty, !parts.contains("..") else { return nil }
    return parts.joined(separator: "/")
  }

  /// Whether `path` is one of these, or lies in one that is a folder (§6.2.1).
  public static func isCovered(_ path: String, by ignored: Set<String>) -> Bool {
    if ignored.isEmpty { return false }
    if ignored.contains(path) { return true }
    return path.indices.contains { path[$0] == "/" && ignored.contains(String(path[..<$0])) }
  }

  private static func isPlainPart(_ part: some StringProtocol) -> Bool { !part.isEmpty && part != "." && part != ".." }
}
