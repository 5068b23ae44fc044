internal import CSystemd
import Glibc

/// What a service and systemd say to each other (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)). Without
/// systemd around, all of it does nothing.
public enum Systemd {
  /// Tells the service manager, such as "READY=1\nSTATUS=…"; false when nobody listens.
  @discardableResult
  public static func notify(_ state: String) -> Bool { sd_notify(0, state) > 0 }

  /// Within this time systemd wants "WATCHDOG=1"; send it twice as often. nil when no watchdog is set.
  public static var watchdogInterval: Duration? {
    var microseconds: UInt64 = 0
    guard sd_watchdog_enabled(0, &microseconds) > 0 else { return nil }
    return .microseconds(Int64(clamping: microseconds))
  }

  /// The "READY=1 after RELOADING=1" pair needs the clock's reading (sd_notify(3), RELOADING=1).
  public static func notifyReloading() {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let microseconds = Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1000
    notify("RELOADING=1\nMONOTONIC_USEC=\(microseconds)")
  }

  /// The sockets that systemd opened for us, with the names from their units; close-on-exec is set on each.
  public static func listenDescriptors() -> [(descriptor: Int32, name: String)] { inherited }

  private static let inherited: [(descriptor: Int32, name: String)] = {
    var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
    let count = sd_listen_fds_with_names(0, &names)
    guard count > 0 else { return [] }
    defer {
      for at in 0..<Int(count) { free(names?[at]) }
      free(names)
    }
    // SD_LISTEN_FDS_START is 3.
    return (0..<count).map { (3 + $0, names?[Int($0)].map { String(cString: $0) } ?? "unknown") }
  }()
}
