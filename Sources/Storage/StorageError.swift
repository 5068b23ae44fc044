import Glibc

/// What can go wrong between Skerry and the disk. A caller decides by case, a person reads the description.
public enum StorageError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The file system, or the process's quota on it, has no room left.
  case full(path: String)
  /// The file system or the file can't be written at all.
  case readOnly(path: String)
  /// The operating system's permissions are in the way.
  case denied(path: String)
  case notFound(path: String)
  /// The file's content is not what it must be; `reason` says how.
  case damaged(path: String, reason: String)
  /// The database was written by a newer program, and this one knows schemas up to `known` only.
  case newerSchema(path: String, found: Int, known: Int)
  /// More bytes than the caller allows; the limit is in bytes.
  case tooLarge(path: String, limit: Int)
  /// Another process holds the database.
  case busy(path: String)
  /// A UNIQUE, CHECK, NOT NULL or FOREIGN KEY clause refused the change. The code is SQLite's extended result code.
  case constraint(code: Int32, message: String)
  /// A statement that SQLite refused. Bound values are kept out.
  case statement(code: Int32, message: String, sql: String)
  /// A column holds another type than was asked for.
  case unexpectedValue(column: String, wanted: String)
  /// A record that the log can't hold: it contains a line feed or a NUL byte.
  case invalidRecord
  /// Bytes that don't match their digest.
  case wrongDigest(path: String)
  case closed(path: String)
  /// The disk has not answered for so many seconds.
  case stalled(path: String, seconds: Int)
  /// An open file is no longer what its path names: it was moved away or another was put in its place.
  case displaced(path: String, isReplaced: Bool)
  /// The record at this index was let go.
  case pruned(path: String, index: UInt64)
  /// Any other failed system call, by its errno.
  case system(path: String, operation: String, code: Int32)

  public var description: String {
    switch self {
    case .full(let path): "no space left for \(path); free some and try again"
    case .readOnly(let path): "\(path) is read-only; remount its file system writable or choose another folder"
    case .denied(let path): "no permission for \(path); check its owner and mode"
    case .notFound(let path): "\(path) does not exist"
    case .damaged(let path, let reason): "\(path) is damaged: \(reason)"
    case .newerSchema(let path, let found, let known):
      "\(path) has schema \(found), but this program knows schemas up to \(known) only; install the newer version again"
    case .tooLarge(let path, let limit): "\(path) is larger than the \(limit) bytes that are allowed"
    case .busy(let path): "\(path) is in use by another process"
    case .constraint(_, let message): "the database refused the change: \(message)"
    case .statement(let code, let message, let sql): "SQLite error \(code): \(message), in: \(sql)"
    case .unexpectedValue(let column, let wanted): "column \(column) does not hold \(wanted)"
    case .invalidRecord: "a log record must not contain a line feed or a NUL byte"
    case .wrongDigest(let path): "the bytes of \(path) do not match their digest"
    case .closed(let path): "\(path) is closed"
    case .stalled(let path, let seconds):
      "the disk under \(path) has not answered for \(seconds) s; it goes on by itself when the disk does"
    case .displaced(let path, isReplaced: false): "\(path) was moved away; put it back"
    case .displaced(let path, isReplaced: true):
      "\(path) was replaced by another file; put the first one back, or take the other away"
    case .pruned(let path, let index): "record \(index) of \(path) was pruned meanwhile; begin anew"
    case .system(let path, let operation, let code): "\(operation) \(path): \(errorText(code))"
    }
  }

  /// True when trying again later, without a change to the program or its data, can help.
  public var isTransient: Bool {
    switch self {
    case .full, .readOnly, .busy, .stalled, .displaced, .pruned: true
    default: false
    }
  }

  init(errno code: Int32, operation: String, path: String) {
    self =
      switch code {
      case ENOSPC, EDQUOT, EFBIG: .full(path: path)
      case EROFS: .readOnly(path: path)
      case EACCES, EPERM: .denied(path: path)
      case ENOENT, ENOTDIR: .notFound(path: path)
      default: .system(path: path, operation: operation, code: code)
      }
  }
}

/// The operating system's words for an errno.
private func errorText(_ code: Int32) -> String {
  guard let text = strerror(code) else { return "error \(code)" }
  return String(cString: text)
}
