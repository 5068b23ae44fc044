/// What of the host's processors this process may use.
public enum Processors {
  /// Cores that computing threads may keep busy: those of this process' affinity, each counted once however many
  /// threads it runs, and no more than a control group's quota. At least 1.
  public static var cores: Int {
    let allowed = textFile("/proc/self/status").flatMap { status in
      status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }.map { list($0.dropFirst(18)) }
    }
    guard let allowed, !allowed.isEmpty else { return 1 }
    let distinct = Set(
      allowed.map { number -> String in
        let topology = "/sys/devices/system/cpu/cpu\(number)/topology/"
        guard let core = textFile(topology + "core_id"), let package = textFile(topology + "physical_package_id")
        else { return "\(number)" }
        return "\(package)/\(core)"
      })
    guard let quota = ControlGroup.cores else { return distinct.count }
    return max(1, min(distinct.count, Int(quota.rounded(.up))))
  }

  /// The instruction sets that the kernel names for the first processor.
  public static var features: Set<String> {
    guard let text = textFile("/proc/cpuinfo") else { return [] }
    for line in text.split(separator: "\n") where line.hasPrefix("flags") || line.hasPrefix("Features") {
      return Set((line.split(separator: ":").last ?? "").split(separator: " ").map(String.init))
    }
    return []
  }

  /// `0-2,5` as 0, 1, 2, 5; what is no such list gives nothing.
  static func list(_ text: some StringProtocol) -> [Int] {
    text.split { $0 == "," || $0 == "\t" || $0 == " " || $0 == "\n" }.flatMap { piece -> [Int] in
      let sides = piece.split(separator: "-").compactMap { Int($0) }
      guard let first = sides.first, let last = sides.last, first <= last, last < 65_536 else { return [] }
      return Array(first...last)
    }
  }
}

/// What the control groups that this process is in allow it, each of them (cgroups(7), version 2).
enum ControlGroup {
  /// Cores' worth of time; nil: no quota.
  static var cores: Double? {
    folders.compactMap { folder -> Double? in
      let parts = textFile(folder + "/cpu.max")?.split(separator: " ").compactMap { Double($0) } ?? []
      return parts.count == 2 && parts[1] > 0 ? parts[0] / parts[1] : nil
    }.min()
  }

  /// Bytes of memory; nil: no limit.
  static var memory: UInt64? {
    folders.compactMap { textFile($0 + "/memory.max").flatMap { UInt64($0) } }.min()
  }

  /// The group's folder and those above it.
  private static var folders: [String] {
    guard let line = textFile("/proc/self/cgroup")?.split(separator: "\n").first(where: { $0.hasPrefix("0::") })
    else { return [] }
    var path = "/sys/fs/cgroup"
    var found = [path]
    for piece in line.dropFirst(3).split(separator: "/") where piece != ".." {
      path += "/" + piece
      found.append(path)
    }
    return found
  }
}

extension Memory {
  /// What this process could have at most: the host's memory, or less where a control group says so.
  public static var limit: UInt64 { min(total, ControlGroup.memory ?? .max) }
}
