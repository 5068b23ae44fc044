import Glibc

/// File systems.
public enum Disk {
  /// Bytes that an ordinary user may still write where this path is.
  public static func free(_ path: String) throws(HostError) -> UInt64 {
    let status = try read(path)
    return UInt64(status.f_bavail) * UInt64(status.f_frsize)
  }

  /// The file system's size in bytes.
  public static func total(_ path: String) throws(HostError) -> UInt64 {
    let status = try read(path)
    return UInt64(status.f_blocks) * UInt64(status.f_frsize)
  }

  /// Whether this process may create files in the folder.
  public static func isWritable(_ path: String) -> Bool { access(path, W_OK | X_OK) == 0 }

  private static func read(_ path: String) throws(HostError) -> statvfs {
    var status = statvfs()
    try systemCall("statvfs", path) { statvfs(path, &status) }
    return status
  }
}

/// Memory, in bytes.
public enum Memory {
  public static var total: UInt64 { meminfo("MemTotal") }

  /// What the kernel estimates could be had without swapping.
  public static var available: UInt64 { meminfo("MemAvailable") }

  public static var residentOfSelf: UInt64 { resident(getpid()) ?? 0 }

  /// nil when there is no such process.
  public static func resident(_ pid: Int32) -> UInt64? {
    guard let text = textFile("/proc/\(pid)/statm") else { return nil }
    let fields = text.split(separator: " ")
    guard fields.count > 1, let pages = UInt64(fields[1]) else { return nil }
    return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
  }

  /// What a process and all that it started hold together; nil when there is no such process.
  public static func residentOfTree(_ pid: Int32) -> UInt64? {
    guard var sum = resident(pid) else { return nil }
    for child in (textFile("/proc/\(pid)/task/\(pid)/children") ?? "").split(separator: " ") {
      if let child = Int32(child) { sum += residentOfTree(child) ?? 0 }
    }
    return sum
  }

  private static func meminfo(_ name: String) -> UInt64 {
    guard let text = textFile("/proc/meminfo") else { return 0 }
    for line in text.split(separator: "\n") where line.hasPrefix("\(name):") {
      let fields = line.split(separator: " ")
      if fields.count > 1, let kibibytes = UInt64(fields[1]) { return kibibytes * 1024 }
    }
    return 0
  }
}
