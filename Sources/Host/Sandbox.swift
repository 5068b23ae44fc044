import Glibc

/// Whether bubblewrap can build a sandbox here and now.
public enum SandboxSupport: Sendable, Hashable {
  case available
  case unavailable(reason: String)
}

/// The engine's sandbox: bubblewrap with every namespace of its own, no capabilities, no network, and nothing to
/// see but `/usr`, the engine's folder, the files that it is given, and one writable folder for its socket.
public struct Sandbox: Sendable {
  public let path: String

  public init(path: String = "/usr/bin/bwrap") { self.path = path }

  /// Builds a sandbox as an engine's would be and runs `true` in it.
  public static func probe(_ path: String = "/usr/bin/bwrap") async -> SandboxSupport {
    guard access(path, X_OK) == 0 else {
      return .unavailable(reason: "\(path) is not installed; install the package bubblewrap")
    }
    let arguments =
      isolation + ["--ro-bind", "/usr", "/usr"] + base
      + ["--ro-bind-fd", "3", "/models/probe", "--", "/usr/bin/true"]
    do {
      let some = Descriptor(Int32(try systemCall("open", path) { open(path, O_RDONLY | O_CLOEXEC) }))
      let child = try await ChildProcess.spawn(path, arguments, passing: [some.number])
      withExtendedLifetime(some) {}
      guard let status = await child.wait(timeout: .seconds(10)) else {
        await child.stop(schedule: [])
        return .unavailable(reason: "\(path) did not answer within 10 seconds")
      }
      if status == .exited(0) { return .available }
      let words = child.stderrTail.split(separator: "\n").last.map(String.init) ?? status.description
      return .unavailable(reason: words)
    } catch {
      return .unavailable(reason: "\(error)")
    }
  }

  /// The program to start and its arguments: the engine, inside. `readOnly` are files or folders at their own
  /// paths, `files` the paths of open files by the number of the descriptor that the sandbox is started with;
  /// bubblewrap checks that it binds that very file. `writable` is the socket's folder. The environment inside holds
  /// what is given here and no more.
  public func arguments(
    engine: String, engineDirectory: String, readOnly: [String] = [], files: [(descriptor: Int32, path: String)] = [],
    writable: String,
    environment: [String: String] = [:], engineArguments: [String]
  ) -> (path: String, arguments: [String]) {
    var list = Sandbox.isolation + ["--ro-bind", "/usr", "/usr"]
    list += Sandbox.base
    if !engineDirectory.hasPrefix("/usr/") { list += ["--ro-bind", engineDirectory, engineDirectory] }
    for file in readOnly { list += ["--ro-bind", file, file] }
    for (descriptor, path) in files { list += ["--ro-bind-fd", String(descriptor), path] }
    list += ["--bind", writable, writable, "--clearenv"]
    for (name, value) in environment.sorted(by: { $0.key < $1.key }) { list += ["--setenv", name, value] }
    return (path, list + ["--chdir", "/", "--", engine] + engineArguments)
  }

  private static let isolation = [
    "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "engine",
  ]

  /// Merged-usr links, the loader's cache, and the kernel's file systems.
  private static let base: [String] =
    ["bin", "lib", "lib64", "sbin"].flatMap { ["--symlink", "usr/\($0)", "/\($0)"] }
    + ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    + ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
}
