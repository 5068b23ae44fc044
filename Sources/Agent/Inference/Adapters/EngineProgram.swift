import Glibc

/// An engine's program file.
enum EngineProgram {
  /// Whether an interpreter runs it.
  static func isScript(_ path: String) -> Bool {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var start: [UInt8] = [0, 0]
    return read(descriptor, &start, 2) == 2 && start == Array("#!".utf8)
  }

  /// What must be visible for the program to start: its folder, which may hold libraries of its own, but for folders that
  /// hold everybody's programs.
  static func surroundings(_ path: String) -> String {
    let folder = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    let shared = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
    return shared.contains(folder) ? path : folder
  }
}
