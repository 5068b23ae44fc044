import Glibc
public import Models
import Synchronization

/// A model that is a folder, written from the verified file into a folder that only this account can enter, and that goes
/// with this object. What an engine sees of it is read-only.
public final class UnpackedFolder: Sendable {
  public let path: String
  private let held: OpenFile

  /// For handing on to a sandbox, and no longer good than this object lives.
  public var descriptor: Int32 { held.descriptor }

  private static let count = Atomic<Int>(0)
  private static let piece = 1 << 20

  /// Copies the files through the descriptor that was hashed. Blocks for as long as the disk takes; throws
  /// `StorageError`, and then nothing stays.
  public init(_ files: [FolderFile], of model: VerifiedFile, in parent: String) throws(StorageError) {
    let number = UnpackedFolder.count.add(1, ordering: .relaxed).newValue
    let path = "\(parent)/\(getpid())-\(model.digest.hex.prefix(12))-\(number)"
    self.path = path
    do throws(StorageError) {
      try DurableFile.makeDirectory(path, mode: 0o700)
      for file in files { try UnpackedFolder.copy(file, of: model, into: path) }
      try model.demandUntouched()
      held = try OpenFile(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    } catch {
      UnpackedFolder.remove(path)
      throw error
    }
  }

  deinit { UnpackedFolder.remove(path) }

  private static func copy(_ file: FolderFile, of model: VerifiedFile, into folder: String) throws(StorageError) {
    let target = folder + "/" + file.path
    let parts = file.path.split(separator: "/").dropLast()
    for count in 1..<(parts.count + 1) {
      try DurableFile.makeDirectory(folder + "/" + parts.prefix(count).joined(separator: "/"), mode: 0o700)
    }
    let out = try OpenFile(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o400)
    var done: UInt64 = 0
    var bytes = [UInt8](repeating: 0, count: piece)
    while done < file.length {
      let wanted = Int(min(UInt64(piece), file.length - done))
      let got = pread(model.descriptor, &bytes, wanted, off_t(file.offset + done))
      guard got > 0 else { throw StorageError.damaged(path: model.path, reason: "it ended early") }
      var written = 0
      while written < got {
        let put = bytes[written..<got].withUnsafeBytes { write(out.descriptor, $0.baseAddress, $0.count) }
        guard put > 0 else { throw StorageError.system(path: target, operation: "write", code: errno) }
        written += put
      }
      done += UInt64(got)
    }
  }

  /// Removes what agents that were killed have left in the parent.
  public static func sweep(_ parent: String) {
    for name in entries(parent) {
      guard let owner = name.split(separator: "-").first.flatMap({ Int32($0) }), kill(owner, 0) != 0, errno == ESRCH
      else { continue }
      remove(parent + "/" + name)
    }
  }

  private static func remove(_ path: String) {
    for name in entries(path) {
      let below = path + "/" + name
      if unlink(below) != 0 { remove(below) }
    }
    rmdir(path)
  }

  private static func entries(_ path: String) -> [String] {
    guard let folder = opendir(path) else { return [] }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}
