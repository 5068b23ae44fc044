internal import CProcess
import Glibc

/// A system call that failed, with its errno read at once.
public struct HostError: Error, Sendable, Hashable, CustomStringConvertible {
  public let operation: String
  public let path: String
  public let code: Int32

  public init(operation: String, path: String, code: Int32) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  public var description: String {
    "\(operation) \(path): \(strerror(code).map { String(cString: $0) } ?? "error \(code)")"
  }
}

/// The one gate to errno: goes on after EINTR, throws what else is negative.
@discardableResult
func systemCall<Result: SignedInteger>(
  _ operation: String, _ path: String = "", _ body: () -> Result
) throws(HostError) -> Int {
  while true {
    let result = body()
    if result >= 0 { return Int(result) }
    let code = errno
    if code != EINTR { throw HostError(operation: operation, path: path, code: code) }
  }
}

/// A descriptor that closes with its owner.
final class Descriptor: Sendable {
  let number: Int32
  init(_ number: Int32) { self.number = number }
  deinit { close(number) }

  static func pipe() throws(HostError) -> (read: Descriptor, write: Descriptor) {
    var ends: [Int32] = [-1, -1]
    let code = skerry_pipe(&ends)
    if code != 0 { throw HostError(operation: "pipe", path: "", code: code) }
    return (Descriptor(ends[0]), Descriptor(ends[1]))
  }
}
