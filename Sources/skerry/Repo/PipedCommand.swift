import CommandLine
import FoundationEssentials
import Glibc

/// Runs a shell command with bytes on its standard input and takes what it writes, within bounds of time and size. Its
/// standard error is this program's own, so that it can ask for a PIN on the terminal.
enum PipedCommand {
  struct Outcome {
    /// The exit status; 128 and the signal's number for a command that was killed.
    let status: Int32
    let output: [UInt8]
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private static let largestOutput = 1 << 16
  private static var hasOwnGroup: Bool { !Terminal.input.isTTY }

  /// Throws `Failure` when the command can't be started, takes longer than `timeout` seconds or writes too much; it
  /// and its children are then killed.
  static func run(
    _ command: String, input: [UInt8], adding variables: [String: String], timeout: Int64
  ) throws -> Outcome {
    // A command that does not read must not end us.
    signal(SIGPIPE, SIG_IGN)
    var (toChild, fromChild): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
    guard pipe(&toChild) == 0, pipe(&fromChild) == 0 else {
      throw Failure(description: "no pipe: \(String(cString: strerror(errno)))")
    }
    var writing = toChild[1]
    let reading = fromChild[0]
    defer {
      if writing >= 0 { close(writing) }
      close(reading)
    }
    // None of the pipes is the child's beside its standard input and output.
    for end in toChild + fromChild { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    let child = try spawn(command, variables, input: toChild[0], output: fromChild[1])
    close(toChild[0])
    close(fromChild[1])
    _ = fcntl(writing, F_SETFL, O_NONBLOCK)

    var output: [UInt8] = []
    var rest = input[...]
    let deadline = ContinuousClock.now + .seconds(timeout)
    func kill(_ why: String) -> Failure {
      Glibc.kill(hasOwnGroup ? -child : child, SIGKILL)
      waitpid(child, nil, 0)
      return Failure(description: why)
    }
    while true {
      let left = (deadline - ContinuousClock.now).components
      guard left.seconds >= 0, left.attoseconds >= 0 else { throw kill("no answer within \(timeout) seconds") }
      var waiting = [
        pollfd(fd: reading, events: Int16(POLLIN), revents: 0), pollfd(fd: writing, events: Int16(POLLOUT), revents: 0),
      ]
      _ = poll(&waiting, 2, Int32(min(left.seconds, 3600) * 1000 + 100))
      if writing >= 0, waiting[1].revents != 0 {
        let count = rest.withUnsafeBytes { write(writing, $0.baseAddress, $0.count) }
        if count > 0 { rest = rest.dropFirst(count) }
        if rest.isEmpty || (count < 0 && errno != EAGAIN && errno != EINTR) {
          close(writing)
          writing = -1
        }
      }
      guard waiting[0].revents != 0 else { continue }
      var piece = [UInt8](repeating: 0, count: 4096)
      let count = read(reading, &piece, piece.count)
      if count < 0, errno == EINTR { continue }
      if count <= 0 { break }
      output += piece[..<count]
      guard output.count <= largestOutput else { throw kill("it wrote more than \(largestOutput) bytes") }
    }
    // Its output is over; so should it be.
    var status: Int32 = 0
    while waitpid(child, &status, WNOHANG) == 0 {
      guard ContinuousClock.now < deadline else { throw kill("it does not end") }
      usleep(10_000)
    }
    return Outcome(status: status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F, output: output)
  }

  private static func spawn(
    _ command: String, _ variables: [String: String], input: Int32, output: Int32
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    var defaults = sigset_t()
    sigemptyset(&defaults)
    sigaddset(&defaults, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    // On a terminal it stays in our group, or it could not ask for a PIN there.
    var flags = Int16(POSIX_SPAWN_SETSIGDEF)
    if hasOwnGroup { flags |= Int16(POSIX_SPAWN_SETPGROUP) }
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(&attributes, flags)

    let all = ProcessInfo.processInfo.environment.merging(variables) { _, new in new }
    var environment = all.map { strdup("\($0.key)=\($0.value)") } + [nil]
    var words: [UnsafeMutablePointer<CChar>?] = ["sh", "-c", command].map { (word: String) in strdup(word) } + [nil]
    defer { for text in words + environment { free(text) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, "/bin/sh", &actions, &attributes, &words, &environment)
    guard code == 0 else { throw Failure(description: "can't start it: \(String(cString: strerror(code)))") }
    return child
  }
}
