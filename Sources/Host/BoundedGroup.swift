import Glibc

/// A control group of one engine's own, which bounds what all its processes take together (cgroups(7)).
///
/// Where the service manager has delegated version 2's controllers to the agent, memory and processes are bounded; where
/// there is version 1, as on older systems, processes alone, and only for an agent that may make groups there.
public final class BoundedGroup: Sendable {
  /// What the kernel lets this process bound for its children.
  public struct Place: Sendable, Hashable {
    /// The folder in which groups are made.
    public let folder: String
    public let boundsMemory: Bool
  }

  public let path: String
  private static let processes = "cgroup.procs"

  /// Makes a group in the place; an older one of the name is used again. `memory` in bytes, 0: unbounded.
  public init(_ name: String, in place: Place, processes: Int, memory: UInt64) throws(HostError) {
    path = place.folder + "/" + name
    let code = mkdir(path, 0o755) == 0 ? 0 : errno
    guard code == 0 || code == EEXIST else { throw HostError(operation: "mkdir", path: path, code: code) }
    try BoundedGroup.write(String(processes), to: path + "/pids.max")
    if place.boundsMemory {
      try BoundedGroup.write(memory > 0 ? String(memory) : "max", to: path + "/memory.max")
    }
  }

  /// The file through which a process joins.
  func door() throws(HostError) -> Descriptor {
    let file = path + "/" + BoundedGroup.processes
    return Descriptor(Int32(try systemCall("open", file) { open(file, O_WRONLY | O_CLOEXEC) }))
  }

  /// How many processes and threads are in it; nil where that can't be read.
  public var count: Int? {
    textFile(path + "/pids.current").flatMap { Int($0.split(separator: "\n").first ?? "") }
  }

  /// Takes away what agents that are gone have left in the place. Their groups are called `skerry-PID-…`.
  public static func sweep(_ place: Place) {
    guard let folder = opendir(place.folder) else { return }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      let words = name.split(separator: "-")
      guard words.count > 2, words[0] == "skerry", let owner = Int32(words[1]), kill(owner, 0) != 0, errno == ESRCH
      else { continue }
      rmdir(place.folder + "/" + name)
    }
  }

  /// Takes it away; false while a process is still in it.
  @discardableResult
  public func remove() -> Bool { rmdir(path) == 0 || errno == ENOENT }

  deinit { remove() }

  // MARK: finding a place

  /// Where groups can be made; nil where nobody lets this process.
  ///
  /// - Parameters:
  ///   - root: where the control groups are mounted.
  ///   - own: the text of `/proc/self/cgroup`.
  public static func find(root: String = "/sys/fs/cgroup", own: String? = nil) -> Place? {
    guard let text = own ?? textFile("/proc/self/cgroup") else { return nil }
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3, !fields[2].contains("..") else { continue }
      let below = fields[2] == "/" ? "" : String(fields[2])
      if fields[1] == "", let place = unified(root + below) { return place }
      if fields[1] == "pids", let place = legacy(root + "/pids" + below) { return place }
    }
    return nil
  }

  /// Version 2. A group that has groups below it may hold no process itself, so the agent moves into one of its own.
  private static func unified(_ folder: String) -> Place? {
    guard access(folder + "/cgroup.subtree_control", W_OK) == 0,
      let offered = textFile(folder + "/cgroup.controllers")
    else { return nil }
    let controllers = offered.split { $0 == " " || $0 == "\n" }
    guard controllers.contains("pids") else { return nil }
    let agent = folder + "/agent"
    guard mkdir(agent, 0o755) == 0 || errno == EEXIST else { return nil }
    do {
      for process in (textFile(folder + "/" + processes) ?? "").split(separator: "\n") {
        try write(String(process), to: agent + "/" + processes)
      }
      let memory = controllers.contains("memory")
      try write(memory ? "+pids +memory" : "+pids", to: folder + "/cgroup.subtree_control")
      return Place(folder: folder, boundsMemory: memory)
    } catch {
      return nil
    }
  }

  private static func legacy(_ folder: String) -> Place? {
    // The root group has no bound of its own; groups below it do.
    access(folder, W_OK) == 0 && access(folder + "/" + processes, W_OK) == 0
      ? Place(folder: folder, boundsMemory: false) : nil
  }

  private static func write(_ text: String, to file: String) throws(HostError) {
    let descriptor = Descriptor(Int32(try systemCall("open", file) { open(file, O_WRONLY | O_CLOEXEC) }))
    let bytes = Array(text.utf8)
    try systemCall("write", file) { Glibc.write(descriptor.number, bytes, bytes.count) }
  }
}
