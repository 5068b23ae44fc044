import Fleet
import Glibc
import Storage
import Synchronization
import Trust
import Web

/// Whole files on their way to `targets/`, a piece for each request: no request is longer than a server should hold, and a
/// publisher whose line broke goes on where it was. A file is in its place when it is complete and has the digest that is
/// in its name.
final class TargetUploads: Sendable {
  /// How much is here.
  struct Answer: Encodable {
    let have: UInt64
    let complete: Bool
  }

  private let files: RepositoryFiles
  /// Digests that a request is writing.
  private let busy = Mutex<Set<Digest>>([])

  init(files: RepositoryFiles) { self.files = files }

  /// Takes the piece that `Content-Range: bytes A-B/N` names; `bytes */N` only asks. Throws `HubError`.
  func put(_ name: String, range: String?, body: HTTPBody) async throws -> Answer {
    guard let path = files.targetPath(name), let digest = TargetUploads.digest(in: name) else {
      throw HubError(.malformed, "a target's name is a path whose last part is DIGEST.FILE")
    }
    guard let range = UploadRange(range) else {
      throw HubError(.malformed, "an upload says which bytes it has", hint: "Content-Range: bytes 0-1048575/4194304")
    }
    if RepositoryFiles.size(path) == range.total { return Answer(have: range.total, complete: true) }
    guard busy.withLock({ $0.insert(digest).inserted }) else {
      throw HubError(.busy, "the same file is being uploaded already")
    }
    defer { busy.withLock { _ = $0.remove(digest) } }

    let upload = "\(files.directory)/uploads/\(digest.hex)"
    try await offPool { [files] in try DurableFile.makeDirectory("\(files.directory)/uploads") }
    let have = RepositoryFiles.size(upload) ?? 0
    guard let bytes = range.bytes else { return Answer(have: have, complete: false) }
    guard bytes.lowerBound == have else {
      throw HubError(.conflict, "\(have) bytes are here", hint: "ask with Content-Range: bytes */\(range.total)")
    }
    let writer = try await offPool { try UploadWriter(upload) }
    var at = have
    for try await piece in body {
      guard at + UInt64(piece.count) <= bytes.upperBound else {
        throw HubError(.malformed, "more bytes came than Content-Range says")
      }
      try await offPool { [at] in try writer.write(piece, at: at) }
      at += UInt64(piece.count)
    }
    guard at == range.total else { return Answer(have: at, complete: false) }
    try await offPool {
      guard try FileDigest.of(upload) == digest else {
        try DurableFile.remove(upload)
        throw HubError(.malformed, "the uploaded file does not have the digest in its name; nothing is kept of it")
      }
      try writer.sync()
      try DurableFile.makeDirectory(path.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 })
      try DurableFile.move(upload, to: path)
    }
    return Answer(have: at, complete: true)
  }

  /// `models/NAME/VERSION/DIGEST.FILE`.
  private static func digest(in name: String) -> Digest? {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    return parts.last.flatMap { $0.split(separator: ".").first }.flatMap { Digest(hex: $0) }
  }
}

/// `bytes A-B/N` or `bytes */N` (RFC 9110 §14.4).
struct UploadRange: Hashable {
  /// No file is longer, in bytes.
  static let largest: UInt64 = 1 << 42

  /// Nil: none come.
  let bytes: Range<UInt64>?
  let total: UInt64

  init?(_ header: String?) {
    guard let header, header.hasPrefix("bytes ") else { return nil }
    let sides = header.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
    guard sides.count == 2, let total = UInt64(sides[1]), total > 0, total <= UploadRange.largest else { return nil }
    self.total = total
    if sides[0] == "*" {
      bytes = nil
      return
    }
    let ends = sides[0].split(separator: "-", omittingEmptySubsequences: false)
    guard ends.count == 2, let first = UInt64(ends[0]), let last = UInt64(ends[1]), first <= last, last < total else {
      return nil
    }
    bytes = first..<last + 1
  }
}

/// Writes at places of one file.
private final class UploadWriter: Sendable {
  private let descriptor: Int32
  private let path: String

  init(_ path: String) throws {
    self.path = path
    descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw RepositoryFiles.failure("create", path) }
  }

  deinit { close(descriptor) }

  func write(_ bytes: [UInt8], at offset: UInt64) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        pwrite(descriptor, $0.baseAddress?.advanced(by: done), bytes.count - done, off_t(offset) + off_t(done))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw RepositoryFiles.failure("write", path) }
      done += count
    }
  }

  func sync() throws { if fsync(descriptor) != 0 { throw RepositoryFiles.failure("sync", path) } }
}
