import Glibc

/// Readings of the operating system's clocks. The domain takes them as values.
public enum Clock {
  /// Seconds since 1970, as the wall clock has them; it may be wrong and may jump.
  public static func unixTime() -> Int64 { Int64(read(CLOCK_REALTIME).tv_sec) }

  public static func unixMilliseconds() -> Int64 {
    let now = read(CLOCK_REALTIME)
    return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
  }

  /// Since the machine started, suspended time included; it never goes back.
  public static func monotonic() -> Duration {
    let now = read(CLOCK_BOOTTIME)
    return .seconds(Int64(now.tv_sec)) + .nanoseconds(Int64(now.tv_nsec))
  }

  /// Another text after each start of the machine (random(4), boot_id); empty when there is none.
  public static func bootID() -> String { textFile("/proc/sys/kernel/random/boot_id") ?? "" }

  private static func read(_ clock: clockid_t) -> timespec {
    var now = timespec()
    clock_gettime(clock, &now)
    return now
  }
}

/// This machine's name, as the kernel has it.
public func hostname() -> String {
  var buffer = [CChar](repeating: 0, count: 256)
  guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
  return buffer.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "localhost" }
}

/// A small file of /proc or /sys without the white space at its ends; nil when it can't be read.
func textFile(_ path: String) -> String? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 4096)
  while bytes.count < 1 << 20 {
    let got = read(descriptor, &piece, piece.count)
    if got <= 0 { break }
    bytes += piece[..<got]
  }
  while let last = bytes.last, last <= 0x20 { bytes.removeLast() }
  return String(decoding: bytes, as: UTF8.self)
}
