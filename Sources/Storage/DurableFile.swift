import Glibc
import Synchronization
import Trust

/// Whole small files that survive a power cut: a reader sees the old content or the new, never a mixture.
public enum DurableFile {
  private static let sequence = Atomic<UInt64>(0)

  /// Writes beside the file, syncs, renames over it and syncs the folder. After a failure the old content stands.
  public static func replace(_ path: String, with bytes: [UInt8], mode: UInt32 = 0o600) throws(StorageError) {
    let number = sequence.wrappingAdd(1, ordering: .relaxed).newValue
    let temporary = "\(path).\(getpid())-\(number).tmp"
    do {
      let file = try OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
      // The umask must not narrow what the caller asked for, such as a socket's group reading a public key.
      try System.call("chmod", temporary) { fchmod(file.descriptor, mode_t(mode)) }
      try file.write(bytes, at: 0)
      try file.sync()
      try System.call("rename", path) { Glibc.rename(temporary, path) }
    } catch {
      unlink(temporary)
      throw error.renamed(temporary, to: path)
    }
    try syncFolder(of: path)
  }

  /// The content, or nil when there is no such file. More than `limit` bytes is an error, found before reading.
  public static func read(_ path: String, limit: Int = 16 << 20) throws(StorageError) -> [UInt8]? {
    let file: OpenFile
    do {
      file = try OpenFile(path, O_RDONLY)
    } catch {
      if case .notFound = error { return nil }
      throw error
    }
    let size = try file.size()
    guard size <= UInt64(limit) else { throw .tooLarge(path: path, limit: limit) }
    if size > 0 { return try file.read(at: 0, count: Int(size)) }
    // Files of /proc and /sys say that they are empty.
    let bytes = try file.read(at: 0, count: min(limit, 1 << 20))
    return bytes
  }

  /// Removes the file and syncs its folder; a file that is not there is no error.
  public static func remove(_ path: String) throws(StorageError) {
    do {
      try System.call("remove", path) { unlink(path) }
    } catch {
      if case .notFound = error { return }
      throw error
    }
    try syncFolder(of: path)
  }

  /// Renames within one file system and syncs the target's folder.
  public static func move(_ from: String, to path: String) throws(StorageError) {
    try System.call("rename", path) { Glibc.rename(from, path) }
    try syncFolder(of: path)
  }

  /// Makes the folder and those above it that are missing; one that exists is no error, and its mode stays.
  public static func makeDirectory(_ path: String, mode: UInt32 = 0o700) throws(StorageError) {
    if isDirectory(path) { return }
    let parent = folder(of: path)
    if parent != path, !isDirectory(parent) { try makeDirectory(parent, mode: mode) }
    if mkdir(path, mode_t(mode)) != 0 {
      let code = errno
      if code == EEXIST, isDirectory(path) { return }
      throw StorageError(errno: code, operation: "mkdir", path: path)
    }
    try syncFolder(of: path)
  }

  public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// The size in bytes, or nil when there is no such file.
  public static func size(_ path: String) -> UInt64? {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_size) : nil
  }

  /// The names in a folder, sorted, without "." and ".."; empty when there is no such folder.
  public static func names(in path: String) throws(StorageError) -> [String] {
    guard let stream = opendir(path) else {
      let code = errno
      if code == ENOENT { return [] }
      throw StorageError(errno: code, operation: "list", path: path)
    }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) {
          String(cString: $0)
        }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Makes a rename or a new name in the file's folder durable.
  static func syncFolder(of path: String) throws(StorageError) {
    try OpenFile(folder(of: path), O_RDONLY | O_DIRECTORY).sync()
  }

  static func folder(of path: String) -> String {
    var trimmed = path[...]
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    guard let slash = trimmed.lastIndex(of: "/") else { return "." }
    return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
  }

  private static func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }
}

extension DurableFile {
  /// Writes over the file's bytes, syncs, and removes it: what is to be gone from the disk. A file that is not there is no
  /// error. A file system that writes to other places (copy on write, a log, flash) may keep the old bytes for a while.
  public static func destroy(_ path: String) throws(StorageError) {
    do {
      let file = try OpenFile(path, O_WRONLY | O_NOFOLLOW)
      var left = try file.size()
      var at: UInt64 = 0
      while left > 0 {
        let noise = SecureRandom.bytes(Int(min(left, 1 << 16)))
        try file.write(noise, at: at)
        at += UInt64(noise.count)
        left -= UInt64(noise.count)
      }
      try file.sync()
    } catch {
      if case .notFound = error { return }
      // On a disk that is full or sick the name goes all the same.
      if case .denied = error { throw error }
    }
    try remove(path)
  }

  /// Removes an empty folder; one that is not there is no error.
  public static func removeDirectory(_ path: String) throws(StorageError) {
    do {
      try System.call("remove", path) { rmdir(path) }
    } catch {
      if case .notFound = error { return }
      throw error
    }
    try syncFolder(of: path)
  }
}

extension StorageError {
  /// An error about a temporary name tells of the name that the caller knows.
  fileprivate func renamed(_ temporary: String, to path: String) -> StorageError {
    switch self {
    case .full(temporary): .full(path: path)
    case .readOnly(temporary): .readOnly(path: path)
    case .denied(temporary): .denied(path: path)
    case .notFound(temporary): .notFound(path: path)
    case .system(temporary, let operation, let code): .system(path: path, operation: operation, code: code)
    default: self
    }
  }
}
