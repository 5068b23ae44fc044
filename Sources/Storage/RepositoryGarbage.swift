import Glibc
import Models
import Trust

/// Takes chunks, indexes and signatures out of a repository's folder that no metadata names any more. The folder is a
/// publisher's or a hub's: `metadata`, `staged`, `indexes`, `chunks`, `signatures`, and a hub's `verified`.
///
/// What the newest metadata of a role names stays, and so does what staged metadata names. Older metadata counts as
/// long as its successor is younger than `grace`, for readers who are still at it, and no file goes that is younger
/// than `grace` itself, for publishers who upload chunks before the metadata. No counts are kept: everything is found
/// anew each time, from the files. A crash leaves files that the next run takes away.
public struct RepositoryGarbage: Sendable {
  public let root: String
  /// Seconds.
  public let grace: Int64

  public init(root: String, grace: Int64) {
    self.root = root
    self.grace = grace
  }

  public struct Found: Sendable, Hashable {
    public var indexes = 0
    public var chunks = 0
    public var signatures = 0
    /// Left-overs of writers that were killed.
    public var temporaries = 0
    /// Of all files that went.
    public var bytes: UInt64 = 0
    /// Chunks that stay.
    public var kept = 0

    public var isEmpty: Bool { indexes + chunks + signatures + temporaries == 0 }
  }

  /// Removes the garbage, or only counts it. Throws `StorageError` before anything is removed when some metadata or an
  /// index that it names can't be read: then nobody knows what is needed.
  public func collect(now: Int64, isDryRun: Bool = false) throws -> Found {
    let named = try named(now: now)
    var chunks: Set<ChunkID> = []
    for digest in named.indexes {
      guard let index = try index(digest) else {
        guard named.current.contains(digest) else { continue }
        throw StorageError.damaged(
          path: "\(root)/indexes/\(digest.hex).caibx", reason: "metadata names it, and it is missing or damaged")
      }
      for chunk in index.chunks { chunks.insert(chunk.id) }
    }
    var found = Found()
    // A hub's mark that all chunks of an index are there goes before they do.
    for name in try DurableFile.names(in: "\(root)/verified") {
      guard let digest = Digest(hex: name), !named.indexes.contains(digest), !isDryRun else { continue }
      try DurableFile.remove("\(root)/verified/\(name)")
    }
    found.indexes = try sweep("indexes", now, isDryRun, &found) { name in
      Digest(hex: String(name.prefix(64))).map { named.indexes.contains($0) } ?? true
    }
    found.signatures = try sweep("signatures", now, isDryRun, &found) { name in
      Digest(hex: String(name.prefix(64))).map { named.signatures.contains($0) } ?? true
    }
    for prefix in try DurableFile.names(in: "\(root)/chunks") where prefix.utf8.count == 4 {
      var kept = 0
      found.chunks += try sweep("chunks/\(prefix)", now, isDryRun, &found) { name in
        let isKept = Digest(hex: String(name.prefix(64))).map { chunks.contains($0) } ?? true
        if isKept { kept += 1 }
        return isKept
      }
      found.kept += kept
    }
    return found
  }

  // MARK: what is needed

  private struct Named {
    /// By the newest and by staged metadata.
    var current: Set<Digest> = []
    /// By all metadata that counts.
    var indexes: Set<Digest> = []
    var signatures: Set<Digest> = []
  }

  private func named(now: Int64) throws -> Named {
    var named = Named()
    func note(_ path: String, isCurrent: Bool) throws {
      guard let bytes = try DurableFile.read(path, limit: 64 << 20) else { return }
      let json: JSONValue
      do { json = try JSONValue(parsing: bytes) } catch {
        throw StorageError.damaged(path: path, reason: "it can't be read, so that nobody knows what it names")
      }
      for target in json["signed"]?["targets"]?.object?.values.map({ $0 }) ?? [] {
        let fields = target["custom"]?["skerry"]
        if let index = fields?["index"]?["sha256"]?.string.flatMap({ Digest(hex: $0) }) {
          named.indexes.insert(index)
          if isCurrent { named.current.insert(index) }
        }
        if let signature = fields?["signature"]?["sha256"]?.string.flatMap({ Digest(hex: $0) }) {
          named.signatures.insert(signature)
        }
      }
    }
    for name in try DurableFile.names(in: "\(root)/staged") where name.hasSuffix(".json") {
      try note("\(root)/staged/\(name)", isCurrent: false)
    }
    // `N.ROLE.json`, by role.
    var versions: [String: [Int64]] = [:]
    for name in try DurableFile.names(in: "\(root)/metadata") where name.hasSuffix(".json") {
      guard let dot = name.firstIndex(of: "."), let version = Int64(name[..<dot]) else { continue }
      versions[String(name[name.index(after: dot)...]), default: []].append(version)
    }
    for (role, numbers) in versions where role != "root.json" && role != "snapshot.json" {
      let ordered = numbers.sorted(by: >)
      for (place, version) in ordered.enumerated() {
        let successor = place == 0 ? nil : "\(root)/metadata/\(ordered[place - 1]).\(role)"
        guard successor == nil || age(successor ?? "", now) < grace else { break }
        try note("\(root)/metadata/\(version).\(role)", isCurrent: place == 0)
      }
    }
    return named
  }

  private func index(_ digest: Digest) throws -> ChunkIndex? {
    guard let bytes = try DurableFile.read("\(root)/indexes/\(digest.hex).caibx", limit: 256 << 20),
      Digest(of: bytes) == digest
    else { return nil }
    return try? ChunkIndex(caibx: bytes)
  }

  // MARK: sweeping

  /// Removes a folder's files that are old enough and not kept; the number of those that were named by a digest.
  private func sweep(
    _ folder: String, _ now: Int64, _ isDryRun: Bool, _ found: inout Found, isKept: (String) -> Bool
  ) throws(StorageError) -> Int {
    let path = "\(root)/\(folder)"
    var (count, removed) = (0, false)
    for name in try DurableFile.names(in: path) {
      let isTemporary = name.hasSuffix(".tmp")
      guard isTemporary || !isKept(name), age("\(path)/\(name)", now) >= grace else { continue }
      var status = stat()
      guard lstat("\(path)/\(name)", &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
      if isTemporary { found.temporaries += 1 } else { count += 1 }
      found.bytes += UInt64(status.st_blocks) * 512
      if !isDryRun {
        try System.call("remove", "\(path)/\(name)") { unlink("\(path)/\(name)") }
        removed = true
      }
    }
    // One sync for the whole folder: what a crash brings back goes the next time.
    if removed { try DurableFile.syncFolder(of: "\(path)/x") }
    return count
  }

  /// Seconds since the file was written; 0 for one that isn't there.
  private func age(_ path: String, _ now: Int64) -> Int64 {
    var status = stat()
    guard lstat(path, &status) == 0 else { return 0 }
    return now - Int64(status.st_mtim.tv_sec)
  }
}
