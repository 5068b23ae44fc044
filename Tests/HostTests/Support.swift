import Glibc
import Host

/// A folder of a test's own that goes with it.
final class Scratch: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/skerry-host-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { buffer in
      guard let start = buffer.baseAddress, let made = mkdtemp(start) else { return "/nonexistent" }
      return String(cString: made)
    }
  }

  deinit { run("/bin/rm", "-rf", path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }
}

/// Runs a program to its end; true when it ends well.
@discardableResult
func run(_ program: String, _ arguments: String...) -> Bool {
  var words = ([program] + arguments).map { strdup($0) } + [nil]
  defer { for word in words { free(word) } }
  var pid: pid_t = 0
  guard posix_spawn(&pid, program, nil, nil, &words, environ) == 0 else { return false }
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  return status == 0
}

func text(_ path: String) -> String? {
  guard let file = fopen(path, "r") else { return nil }
  defer { fclose(file) }
  var bytes = [UInt8](repeating: 0, count: 65_536)
  let got = fread(&bytes, 1, bytes.count, file)
  return String(decoding: bytes.prefix(got), as: UTF8.self)
}

/// Polls until the condition holds; false when it doesn't within the time.
func eventually(within limit: Duration = .seconds(5), _ condition: () -> Bool) async -> Bool {
  let start = Clock.monotonic()
  while Clock.monotonic() - start < limit {
    if condition() { return true }
    try? await Task.sleep(for: .milliseconds(10))
  }
  return condition()
}

/// Whether the process is there and is no zombie.
func isAlive(_ pid: Int32) -> Bool {
  guard let status = text("/proc/\(pid)/stat"), let end = status.lastIndex(of: ")") else { return false }
  return status[end...].dropFirst(2).first != "Z"
}

func shell(_ script: String, input: ChildProcess.StandardInput = .null, tail: Int = 4096) async throws -> ChildProcess {
  try await ChildProcess.spawn(
    "/bin/sh", ["-c", script], environment: ["PATH": "/usr/bin:/bin"], standardInput: input, stderrTail: tail)
}
