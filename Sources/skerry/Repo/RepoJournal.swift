import CommandLine
import Storage
import Trust

/// Several files become current at once: all of them are written down in one file first, then put in their places. A
/// kill at any point leaves the old repository, or the journal that the next command finishes.
enum RepoJournal {
  private static func journalPath(_ folder: RepoFolder) -> String { folder.staged + "/commit.journal" }

  /// Puts the files in their places, in this order, and clears what was staged. `isHubSigned`: from now on a hub signs
  /// snapshot and timestamp, so that the folder's own go.
  static func commit(
    _ files: [(name: String, bytes: [UInt8])], isHubSigned: Bool, in folder: RepoFolder
  ) throws {
    try DurableFile.makeDirectory(folder.staged, mode: 0o755)
    let listed = files.map { file -> JSONValue in
      ["name": .string(file.name), "text": .string(String(decoding: file.bytes, as: UTF8.self))]
    }
    let journal: JSONValue = ["files": .array(listed), "hubSigned": .bool(isHubSigned)]
    try DurableFile.replace(journalPath(folder), with: journal.encoded(), mode: 0o644)
    try finish(journal, folder)
  }

  /// Where a file of this name belongs; nil for a name that no file of a repository has.
  private static func path(of name: String, in folder: RepoFolder) -> String? {
    let inner = name.hasPrefix("director/") ? String(name.dropFirst("director/".count)) : name
    guard name == "timestamp.json" || TUFFileName.parse(inner) != nil else { return nil }
    return inner == name ? "\(folder.metadata)/\(name)" : "\(folder.path)/\(name)"
  }

  /// Finishes a commit that was killed.
  static func recover(_ folder: RepoFolder) throws {
    guard let bytes = try DurableFile.read(journalPath(folder), limit: 1 << 30) else { return }
    guard let journal = try? JSONValue(parsing: bytes) else {
      throw CommandFailure("\(journalPath(folder)) is damaged", hint: "restore it from a copy", status: .data)
    }
    try finish(journal, folder)
  }

  private static func finish(_ journal: JSONValue, _ folder: RepoFolder) throws {
    let isHubSigned = journal["hubSigned"]?.bool == true
    try DurableFile.makeDirectory(folder.metadata, mode: 0o755)
    for file in journal["files"]?.array ?? [] {
      guard let name = file["name"]?.string, let text = file["text"]?.string,
        let path = RepoJournal.path(of: name, in: folder)
      else { throw CommandFailure("\(journalPath(folder)) is damaged", hint: "restore it from a copy", status: .data) }
      try DurableFile.makeDirectory(String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]), mode: 0o755)
      try DurableFile.replace(path, with: Array(text.utf8), mode: 0o644)
    }
    if isHubSigned {
      try DurableFile.replace(folder.hubMark, with: [], mode: 0o644)
      try DurableFile.remove(folder.metadata + "/timestamp.json")
    }
    for name in try DurableFile.names(in: folder.staged) where folder.staged + "/" + name != journalPath(folder) {
      try DurableFile.remove("\(folder.staged)/\(name)")
    }
    try DurableFile.remove(journalPath(folder))
  }
}
