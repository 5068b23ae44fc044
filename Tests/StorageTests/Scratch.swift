import Glibc
import Testing

/// A folder of a test's own that goes with it.
final class Scratch: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/skerry-storage-XXXXXX".utf8CString)
    path = template.withUnsafeMutableBufferPointer { buffer in
      guard let start = buffer.baseAddress, let made = mkdtemp(start) else { return "/nonexistent" }
      return String(cString: made)
    }
  }

  deinit { Scratch.removeTree(path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  static func removeTree(_ path: String) {
    guard let folder = opendir(path) else {
      unlink(path)
      return
    }
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name == "." || name == ".." { continue }
      if entry.pointee.d_type == 4 { removeTree("\(path)/\(name)") } else { unlink("\(path)/\(name)") }
    }
    closedir(folder)
    rmdir(path)
  }
}

/// A file system of its own with little room, for what happens when a disk is full or read-only. It needs root.
final class SmallDisk: Sendable {
  static let isPossible: Bool = {
    guard getuid() == 0 else { return false }
    return (try? SmallDisk(bytes: 65_536)) != nil
  }()

  struct NoMount: Error {}

  private let scratch = Scratch()
  let path: String

  init(bytes: Int) throws {
    path = scratch.path
    guard run("/bin/mount", "-t", "tmpfs", "-o", "size=\(bytes)", "skerry-test", path) else { throw NoMount() }
  }

  deinit { run("/bin/umount", "-l", path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  @discardableResult
  func setReadOnly(_ readOnly: Bool) -> Bool {
    run("/bin/mount", "-o", "remount,\(readOnly ? "ro" : "rw")", path)
  }
}

/// Runs a program to its end; true when it ends well.
@discardableResult
func run(_ program: String, _ arguments: String...) -> Bool {
  var words = ([program] + arguments).map { strdup($0) } + [nil]
  defer { for word in words { free(word) } }
  var pid: pid_t = 0
  guard posix_spawn(&pid, program, nil, nil, &words, environ) == 0 else { return false }
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0, errno == EINTR {}
  return status == 0
}

func contents(_ path: String) -> [UInt8]? {
  guard let file = fopen(path, "r") else { return nil }
  defer { fclose(file) }
  var bytes: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 65_536)
  while true {
    let got = fread(&piece, 1, piece.count, file)
    if got == 0 { return bytes }
    bytes += piece[..<got]
  }
}

/// Writes over the file from this offset, or appends to its end.
func overwrite(_ path: String, at offset: Int? = nil, with bytes: [UInt8]) {
  let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
  defer { close(descriptor) }
  _ = pwrite(descriptor, bytes, bytes.count, offset.map { off_t($0) } ?? lseek(descriptor, 0, SEEK_END))
}

func mode(_ path: String) -> UInt32 {
  var status = stat()
  return stat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
}

/// Bytes that look random and are the same each time (splitmix64).
func sampleBytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count + 8)
  while bytes.count < count {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    mixed ^= mixed >> 31
    for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: mixed >> (8 * UInt64(shift)))) }
  }
  return Array(bytes.prefix(count))
}
