internal import CProcess
import Glibc

/// Whether bubblewrap can build a sandbox here and now.
public enum SandboxSupport: Sendable, Hashable {
  case available
  case unavailable(reason: String)
}

/// An engine's sandbox: bubblewrap with every namespace of its own, no capabilities, no network but a loopback of its own,
/// a system-call filter, and nothing to see but libraries, the program, the files that it is given and its socket's
/// folder. Everything but that folder and a small `/tmp` is read-only.
public struct Sandbox: Sendable, Hashable {
  /// bubblewrap.
  public let path: String
  /// `skerry-confine`, the first program inside.
  public let helper: String

  public init(path: String = "/usr/bin/bwrap", helper: String = Sandbox.helperPath) {
    self.path = path
    self.helper = helper
  }

  /// What is inside.
  public struct Contents: Sendable {
    public var program: String
    public var arguments: [String]
    /// All of it; nothing else of an environment gets in.
    public var environment: [String: String]
    /// Files and folders at their own paths, read-only; those that are not there are left out.
    public var visible: [String]
    /// Open files and folders by their descriptor here, and where they are to be seen inside, read-only. bubblewrap checks
    /// that it binds that very file.
    public var files: [(descriptor: Int32, path: String)]
    /// The socket's folder, at its own path. Nil: there is none.
    public var writable: String?
    /// Device nodes at their own paths.
    public var devices: [String]
    /// The most processes and threads.
    public var processes: Int
    /// The most bytes in each of `/tmp` and `/dev/shm`.
    public var scratchBytes: UInt64
    /// A listening Unix socket by its descriptor here, whose connections go to this port inside.
    public var relay: (descriptor: Int32, port: UInt16)?
    /// How long after end-of-file on its standard input, which is SIGTERM to it, the program is killed. Nil: the program
    /// has the standard input for itself.
    public var stopAfter: Duration?
    public var filter: SeccompFilter?

    public init(program: String, arguments: [String] = [], environment: [String: String] = [:]) {
      self.program = program
      self.arguments = arguments
      self.environment = environment
      visible = Sandbox.libraries
      files = []
      devices = []
      processes = 256
      scratchBytes = 64 << 20
    }
  }

  /// Where a Linux system has its shared libraries.
  public static let libraries = ["/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/local/lib", "/etc/ld.so.cache"]

  /// The arguments for bubblewrap, when it is started with the descriptors of the files as 3 and so on, then the relay's,
  /// then the filter's.
  public func arguments(_ contents: Contents) -> [String] {
    let size = String(contents.scratchBytes)
    var list = Sandbox.isolation + Sandbox.base
    list += ["--size", size, "--tmpfs", "/tmp", "--size", size, "--tmpfs", "/dev/shm"]
    // After what would cover them.
    list += contents.visible.flatMap { ["--ro-bind-try", $0, $0] }
    list += ["--ro-bind", helper, Sandbox.helperInside]
    for folder in [contents.program] where !contents.visible.contains(where: { folder.hasPrefix($0 + "/") }) {
      list += ["--ro-bind", folder, folder]
    }
    for (number, file) in contents.files.enumerated() { list += ["--ro-bind-fd", String(number + 3), file.path] }
    var next = contents.files.count + 3
    func numbered() -> String {
      next += 1
      return String(next - 1)
    }
    if let writable = contents.writable { list += ["--bind", writable, writable] }
    if !contents.devices.isEmpty { list += ["--ro-bind-try", "/sys", "/sys"] }
    for device in contents.devices { list += ["--dev-bind", device, device] }
    // An agent that runs as root would else lend its engines root's hold on /proc/sys.
    list += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/", "--clearenv"]
    for (name, value) in contents.environment.sorted(by: { $0.key < $1.key }) { list += ["--setenv", name, value] }
    let relay = contents.relay.map { ["--relay", numbered(), String($0.port)] } ?? []
    if contents.filter != nil { list += ["--seccomp", numbered()] }
    list += ["--chdir", "/", "--", Sandbox.helperInside, "--processes", String(contents.processes)] + relay
    if let stopAfter = contents.stopAfter {
      list += ["--stop-after", String(stopAfter.components.seconds * 1000)]
    }
    return list + ["--", contents.program] + contents.arguments
  }

  /// Starts the sandbox and the program in it. The caller keeps the descriptors open until this returns.
  public func spawn(
    _ contents: Contents, standardInput: ChildProcess.StandardInput = .null,
    limits: ChildProcess.Limits = ChildProcess.Limits(), group: BoundedGroup? = nil
  ) async throws -> ChildProcess {
    let filter = try contents.filter.map { try $0.readable() }
    let passed =
      contents.files.map(\.descriptor) + (contents.relay.map { [$0.descriptor] } ?? [])
      + (filter.map { [$0.number] } ?? [])
    defer { withExtendedLifetime(filter) {} }
    return try await ChildProcess.spawn(
      path, arguments(contents), standardInput: standardInput, passing: passed, limits: limits, group: group)
  }

  private static let isolation = [
    "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "engine",
  ]
  private static let helperInside = "/confine"

  /// Merged-usr links, and the kernel's file systems.
  private static let base: [String] =
    ["bin", "lib", "lib64", "sbin"].flatMap { ["--symlink", "usr/\($0)", "/\($0)"] }
    + ["--proc", "/proc", "--dev", "/dev"]
}

extension Sandbox {
  /// Builds a sandbox as an engine's would be and runs the helper in it.
  public func probe(_ filter: SeccompFilter?) async -> SandboxSupport {
    guard access(path, X_OK) == 0 else {
      return .unavailable(reason: "\(path) is not installed; install the package bubblewrap")
    }
    guard access(helper, X_OK) == 0 else {
      return .unavailable(reason: "skerry-confine is missing: it belongs beside skerryd or into /usr/lib/skerry")
    }
    do {
      let some = Descriptor(Int32(try systemCall("open", path) { open(path, O_RDONLY | O_CLOEXEC) }))
      var contents = Contents(program: helper, arguments: ["--check"])
      contents.files = [(some.number, "/models/probe")]
      contents.filter = filter
      let child = try await spawn(contents)
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

  /// `$SKERRY_CONFINE`, else beside this program, else where packages put it.
  public static let helperPath: String = {
    if let named = getenv("SKERRY_CONFINE") { return String(cString: named) }
    let places = [realPath("/proc/self/exe"), skerry_image().flatMap { realPath($0) }].compactMap { $0 }
    let beside = places.compactMap { path in path.lastIndex(of: "/").map { String(path[..<$0]) + "/skerry-confine" } }
    return beside.first(where: { access($0, X_OK) == 0 }) ?? "/usr/lib/skerry/skerry-confine"
  }()

  private static func realPath(_ path: UnsafePointer<CChar>) -> String? {
    guard let found = realpath(path, nil) else { return nil }
    defer { free(found) }
    return String(cString: found)
  }
}

extension SeccompFilter {
  /// A descriptor that gives the program and then the end of the file.
  func readable() throws(HostError) -> Descriptor {
    let (read, write) = try Descriptor.pipe()
    // A pipe holds 64 KiB; a filter is a tenth of that.
    try systemCall("write") { Glibc.write(write.number, program, program.count) }
    return read
  }
}
