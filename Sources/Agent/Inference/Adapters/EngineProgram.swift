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

  /// The folders of a virtual environment that a program lies in, and of the Python that it was made with.
  static func environment(_ path: String) -> [String] {
    let folder = path.prefix(upTo: path.lastIndex(of: "/") ?? path.startIndex)
    guard folder.hasSuffix("/bin"), access(folder.dropLast(4) + "/pyvenv.cfg", F_OK) == 0 else { return [] }
    var found = [String(folder.dropLast(4))]
    if let real = realpath(folder + "/python3", nil) {
      let words = String(cString: real).split(separator: "/").dropLast(2)
      free(real)
      if words.count > 1, words.first != "usr" { found.append("/" + words.joined(separator: "/")) }
    }
    return found
  }
}
