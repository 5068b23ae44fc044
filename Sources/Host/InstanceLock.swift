import Glibc

/// One process per state directory, by an advisory lock that the kernel drops when the process ends, however it does.
public final class InstanceLock: Sendable {
  public enum Failure: Error, Sendable, Hashable, CustomStringConvertible {
    /// Another process holds it; nil when its number could not be read.
    case held(directory: String, by: Int32?)
    case readOnly(directory: String)
    case denied(directory: String)
    case full(directory: String)
    case missing(directory: String)
    case other(HostError)

    public var description: String {
      switch self {
      case .held(let directory, let pid):
        "\(directory) is in use by another Skerry process\(pid.map { " (pid \($0))" } ?? ""); stop it first"
      case .readOnly(let directory): "\(directory) is on a read-only file system; remount it writable"
      case .denied(let directory): "no permission to write in \(directory); check its owner and mode"
      case .full(let directory): "no space left in \(directory); free some and start again"
      case .missing(let directory): "\(directory) does not exist; create it first"
      case .other(let error): error.description
      }
    }
  }

  private let descriptor: Descriptor

  /// Takes the lock `DIRECTORY/lock` at once or throws; it is held until this object goes.
  public init(directory: String) throws(Failure) {
    let path = "\(directory)/lock"
    do {
      descriptor = Descriptor(
        Int32(try systemCall("open", path) { open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600) }))
    } catch {
      throw InstanceLock.failure(error, directory)
    }
    if flock(descriptor.number, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      if code == EWOULDBLOCK { throw .held(directory: directory, by: textFile(path).flatMap { Int32($0) }) }
      throw InstanceLock.failure(HostError(operation: "lock", path: path, code: code), directory)
    }
    let text = Array("\(getpid())\n".utf8)
    do {
      try systemCall("truncate", path) { ftruncate(descriptor.number, 0) }
      try systemCall("write", path) { pwrite(descriptor.number, text, text.count, 0) }
    } catch {
      throw InstanceLock.failure(error, directory)
    }
  }

  private static func failure(_ error: HostError, _ directory: String) -> Failure {
    switch error.code {
    case EROFS: .readOnly(directory: directory)
    case EACCES, EPERM: .denied(directory: directory)
    case ENOSPC, EDQUOT: .full(directory: directory)
    case ENOENT, ENOTDIR: .missing(directory: directory)
    default: .other(error)
    }
  }
}
