import Glibc
import Trust

/// The files of a model as they lie on the disk: a folder with all below it, or one file. Links are followed only when
/// that is asked for, and never to folders.
public struct ModelTree: Sendable {
  /// A folder's path, or the single file's.
  public let root: String
  /// The last part of the path, with links and dots resolved where it has none of its own.
  public let name: String
  public let isSingleFile: Bool
  /// By path inside the model, in bytes; a single file is `ModelPath.singleFile`.
  public let sizes: [String: UInt64]
  /// Followed links whose targets lie outside the folder, sorted.
  public let linksOutside: [String]
  let followsLinks: Bool

  static let deepest = 64

  /// Lists a model. What `isIgnored` says of is not looked into. Throws `ModelTreeError` or `StorageError`.
  public init(_ path: String, followingLinks: Bool = false, isIgnored: (String) -> Bool = { _ in false }) throws {
    var trimmed = path[...]
    while trimmed.utf8.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    root = String(trimmed)
    followsLinks = followingLinks
    let last = root.split(separator: "/").last.map(String.init) ?? ""
    name =
      [".", "..", ""].contains(last) ? Self.resolved(root).split(separator: "/").last.map(String.init) ?? "/" : last
    if try Self.kind(root, followingLinks: false) == S_IFLNK, !followingLinks { throw ModelTreeError.link(path: root) }
    switch try Self.kind(root, followingLinks: true) {
    case S_IFREG:
      isSingleFile = true
      sizes = [ModelPath.singleFile: try Self.size(root)]
      linksOutside = []
    case S_IFDIR:
      isSingleFile = false
      var walk = Walk(root: root, followsLinks: followingLinks)
      try walk.enter("", depth: 0, isIgnored)
      sizes = walk.sizes
      linksOutside = walk.outside.sorted()
    default: throw ModelTreeError.special(path: root)
    }
  }

  /// Where a file of the model lies.
  public func place(of path: String) -> String { path == ModelPath.singleFile ? root : "\(root)/\(path)" }

  private struct Walk {
    let root: String
    let followsLinks: Bool
    let resolvedRoot: String
    var sizes: [String: UInt64] = [:]
    var outside: [String] = []

    init(root: String, followsLinks: Bool) {
      self.root = root
      self.followsLinks = followsLinks
      resolvedRoot = ModelTree.resolved(root)
    }

    mutating func enter(_ folder: String, depth: Int, _ isIgnored: (String) -> Bool) throws {
      let place = folder.isEmpty ? root : "\(root)/\(folder)"
      guard depth < ModelTree.deepest else { throw ModelTreeError.tooDeep(path: place) }
      for name in try ModelTree.names(in: place) {
        let path = folder.isEmpty ? name : "\(folder)/\(name)"
        if isIgnored(path) { continue }
        let place = "\(root)/\(path)"
        switch try ModelTree.kind(place, followingLinks: false) {
        case S_IFREG: try add(path)
        case S_IFDIR: try enter(path, depth: depth + 1, isIgnored)
        case S_IFLNK: try follow(path)
        default: throw ModelTreeError.special(path: place)
        }
      }
    }

    private mutating func follow(_ path: String) throws {
      let place = "\(root)/\(path)"
      guard followsLinks else { throw ModelTreeError.link(path: place) }
      switch try ModelTree.kind(place, followingLinks: true) {
      case S_IFREG: try add(path)
      case S_IFDIR: throw ModelTreeError.linkToFolder(path: place)
      default: throw ModelTreeError.special(path: place)
      }
      if !ModelTree.resolved(place).hasPrefix(resolvedRoot + "/") { outside.append(path) }
    }

    private mutating func add(_ path: String) throws {
      guard sizes.count < ModelFileManifest.mostResources else {
        throw ModelTreeError.tooMany(limit: ModelFileManifest.mostResources)
      }
      sizes[path] = try ModelTree.size("\(root)/\(path)")
    }
  }

  // MARK: - The file system

  /// The path without links and dots; the path itself when it can't be resolved.
  public static func resolved(_ path: String) -> String {
    guard let text = realpath(path, nil) else { return path }
    defer { free(text) }
    return String(cString: text)
  }

  private static func kind(_ path: String, followingLinks: Bool) throws(StorageError) -> mode_t {
    var status = stat()
    try System.call("stat", path) { followingLinks ? stat(path, &status) : lstat(path, &status) }
    return status.st_mode & S_IFMT
  }

  private static func size(_ path: String) throws(StorageError) -> UInt64 {
    var status = stat()
    try System.call("stat", path) { stat(path, &status) }
    return UInt64(status.st_size)
  }

  /// The names in a folder, which must be UTF-8: another would come out as a name that is not there.
  private static func names(in path: String) throws -> [String] {
    guard let stream = opendir(path) else { throw StorageError(errno: errno, operation: "list", path: path) }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let bytes = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: UInt8.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) {
          Array(UnsafeBufferPointer(start: $0, count: strlen(UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))))
        }
      }
      guard let name = String(validating: bytes, as: UTF8.self) else { throw ModelTreeError.notUTF8(path: path + "/…") }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}
