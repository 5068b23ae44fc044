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
