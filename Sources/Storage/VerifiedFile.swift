import Glibc
public import Trust

/// A stored file that was opened once, hashed through that descriptor, and stays open: whoever is given the descriptor
/// reads the very file that was verified, whatever becomes of its name.
///
/// Where the file system grants leases (fcntl(2), F_SETLEASE), the file can't be written meanwhile either: whoever opens
/// it for writing waits until this object is gone, and `demandUntouched` tells of it. Elsewhere a change shows by the
/// file's times, after it was made.
public final class VerifiedFile: Sendable {
  public let path: String
  public let digest: Digest
  /// Whether the kernel keeps writers out for as long as this object lives.
  public let isGuarded: Bool
  private let file: OpenFile
  private let identity: Identity

  /// For handing on to a child, and no longer good than this object lives.
  public var descriptor: Int32 { file.descriptor }

  /// Opens, guards and hashes the file. Blocks for as long as the disk takes.
  ///
  /// Throws `.wrongDigest` for other bytes, `.damaged` for what is no plain file of this account's own that only it may
  /// write, `.busy` when somebody has it open for writing, and `.notFound`.
  public init(
    _ path: String, is digest: Digest, progress: (UInt64, UInt64) -> Void = { _, _ in }
  ) throws(StorageError) {
    file = try VerifiedFile.open(path)
    let before = try Identity(of: file)
    try before.demandSafe(path)
    isGuarded = try VerifiedFile.guardAgainstWriters(file)
    guard try FileDigest.of(file, progress: progress) == digest else { throw .wrongDigest(path: path) }
    identity = before
    self.path = path
    self.digest = digest
    try demandUntouched()
  }

  /// Throws `.busy` when somebody has opened the file for writing since, and `.damaged` when it was changed.
  public func demandUntouched() throws(StorageError) {
    let now = try Identity(of: file)
    guard now.isSameContent(as: identity, evenRenamed: isGuarded) else {
      throw .damaged(path: path, reason: "it changed after it was verified")
    }
    // F_GETLEASE of fcntl(2), which Swift does not import: any other type than ours tells of a writer who waits.
    if isGuarded, fcntl(file.descriptor, 1025) != Int32(F_RDLCK) { throw .busy(path: path) }
  }

  /// Follows no symbolic link, neither as the file nor as its folder.
  private static func open(_ path: String) throws(StorageError) -> OpenFile {
    let folder: OpenFile
    do { folder = try OpenFile(DurableFile.folder(of: path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW) } catch {
      if case .system(_, _, ELOOP) = error { throw .damaged(path: path, reason: "its folder is a symbolic link") }
      throw error
    }
    try Identity(of: folder).demandSafeFolder(path)
    let name = path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
    // A pipe would make the opening wait.
    do { return try OpenFile(name, in: folder, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, path: path) } catch {
      switch error {
      case .system(_, _, ELOOP): throw .damaged(path: path, reason: "it is a symbolic link")
      case .system(_, _, ENXIO): throw .damaged(path: path, reason: "it is no plain file")
      default: throw error
      }
    }
  }

  /// Takes a read lease: the kernel grants it only while nobody has the file open for writing.
  private static func guardAgainstWriters(_ file: OpenFile) throws(StorageError) -> Bool {
    // F_SETSIG and F_SETLEASE. A broken lease is noticed by asking; its signal is one that nobody minds.
    guard fcntl(file.descriptor, 10, SIGURG) == 0 else { return false }
    for attempt in 0..<40 {
      if fcntl(file.descriptor, 1024, Int32(F_RDLCK)) == 0 { return true }
      let code = errno
      guard code == EAGAIN else { return false }
      // A sync that has just finished the file may not have closed it yet.
      if attempt < 39 { usleep(25_000) }
    }
    throw .busy(path: file.path)
  }
}

/// What says that a file is still the same one with the same content.
private struct Identity: Sendable, Equatable {
  let status: stat

  init(of file: OpenFile) throws(StorageError) {
    var status = stat()
    try System.call("stat", file.path) { fstat(file.descriptor, &status) }
    self.status = status
  }

  /// Renaming and linking move the time of the last change of status; where no writer can come in, that means nothing.
  func isSameContent(as other: Identity, evenRenamed: Bool) -> Bool {
    self == other && (evenRenamed || status.st_ctim == other.status.st_ctim)
  }

  static func == (left: Identity, right: Identity) -> Bool {
    let (left, right) = (left.status, right.status)
    return left.st_dev == right.st_dev && left.st_ino == right.st_ino && left.st_size == right.st_size
      && left.st_mode == right.st_mode && left.st_uid == right.st_uid && left.st_mtim == right.st_mtim
  }

  func demandSafe(_ path: String) throws(StorageError) {
    guard status.st_mode & S_IFMT == S_IFREG else { throw .damaged(path: path, reason: "it is no plain file") }
    try demandOurs(path, "it")
  }

  func demandSafeFolder(_ path: String) throws(StorageError) { try demandOurs(path, "its folder") }

  private func demandOurs(_ path: String, _ what: String) throws(StorageError) {
    guard status.st_uid == geteuid() || status.st_uid == 0 else {
      throw .damaged(path: path, reason: "\(what) belongs to another account")
    }
    guard status.st_mode & (S_IWGRP | S_IWOTH) == 0 else {
      throw .damaged(path: path, reason: "\(what) can be written by other accounts")
    }
  }
}

extension timespec {
  fileprivate static func == (left: timespec, right: timespec) -> Bool {
    left.tv_sec == right.tv_sec && left.tv_nsec == right.tv_nsec
  }
}
