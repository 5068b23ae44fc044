import Glibc

/// The system's users and groups (passwd and group databases, through NSS).
public enum Users {
  public static func name(_ uid: UInt32) -> String? {
    lookUp { (entry: UnsafeMutablePointer<passwd>, buffer, size, found) in
      getpwuid_r(uid, entry, buffer, size, found)
    } take: {
      $0.pw_name.map { String(cString: $0) }
    }
  }

  public static func uid(_ name: String) -> UInt32? { account(name)?.uid }

  /// The group that the user's entry names; the user's own number for a user without an entry.
  public static func primaryGroup(of uid: UInt32) -> UInt32 { name(uid).flatMap(account)?.gid ?? uid }

  public static func groupName(_ gid: UInt32) -> String? {
    lookUp { (entry: UnsafeMutablePointer<group>, buffer, size, found) in
      getgrgid_r(gid, entry, buffer, size, found)
    } take: {
      $0.gr_name.map { String(cString: $0) }
    }
  }

  public static func gid(_ name: String) -> UInt32? {
    lookUp { (entry: UnsafeMutablePointer<group>, buffer, size, found) in
      getgrnam_r(name, entry, buffer, size, found)
    } take: {
      $0.gr_gid
    }
  }

  /// The names of the group's members: those that its entry lists, and those in /etc/passwd whose own group it is. Whoever
  /// has it as their own group elsewhere (a directory service) is not among them.
  public static func members(of gid: UInt32) -> [String] {
    let listed = lookUp { (entry: UnsafeMutablePointer<group>, buffer, size, found) in
      getgrgid_r(gid, entry, buffer, size, found)
    } take: { entry -> [String] in
      var names: [String] = []
      var next = entry.gr_mem
      while let name = next?.pointee {
        names.append(String(cString: name))
        next = next?.advanced(by: 1)
      }
      return names
    }
    return Set(listed ?? []).union(owners(of: gid)).sorted()
  }

  private static func owners(of gid: UInt32) -> [String] {
    guard let file = fopen("/etc/passwd", "re") else { return [] }
    defer { fclose(file) }
    var names: [String] = []
    var buffer = [CChar](repeating: 0, count: 1 << 16)
    var entry = passwd()
    var found: UnsafeMutablePointer<passwd>?
    while fgetpwent_r(file, &entry, &buffer, buffer.count, &found) == 0 {
      if entry.pw_gid == gid, let name = entry.pw_name { names.append(String(cString: name)) }
    }
    return names
  }

  /// All groups of the user, with the given one first; just that one for a user without an entry.
  public static func groups(_ uid: UInt32, _ gid: UInt32) -> [UInt32] {
    guard let name = name(uid) else { return [gid] }
    var count: Int32 = 64
    for _ in 0..<4 {
      var groups = [gid_t](repeating: 0, count: Int(count))
      if getgrouplist(name, gid, &groups, &count) >= 0 {
        return [gid] + groups.prefix(Int(count)).filter { $0 != gid }.sorted()
      }
      count = max(count, Int32(groups.count) * 4)
    }
    return [gid]
  }

  private static func account(_ name: String) -> (uid: UInt32, gid: UInt32)? {
    lookUp { (entry: UnsafeMutablePointer<passwd>, buffer, size, found) in
      getpwnam_r(name, entry, buffer, size, found)
    } take: {
      ($0.pw_uid, $0.pw_gid)
    }
  }

  /// Calls one of the `…_r` functions with a buffer that grows until the entry fits.
  private static func lookUp<Entry, T>(
    _ find: (
      UnsafeMutablePointer<Entry>, UnsafeMutablePointer<CChar>, Int,
      UnsafeMutablePointer<UnsafeMutablePointer<Entry>?>
    ) -> Int32,
    take: (Entry) -> T?
  ) -> T? {
    let entry = UnsafeMutablePointer<Entry>.allocate(capacity: 1)
    defer { entry.deallocate() }
    var size = 2048
    while size <= 1 << 20 {
      let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: size)
      defer { buffer.deallocate() }
      var found: UnsafeMutablePointer<Entry>?
      let code = find(entry, buffer, size, &found)
      if code == 0 { return found.flatMap { take($0.pointee) } }
      if code != ERANGE { return nil }
      size *= 4
    }
    return nil
  }
}
