import Glibc
import Trust

/// Copies of large files.
public enum FileCopy {
  /// Copies a file beside its place, a mebibyte at a time, and puts it there, synced, when `accept` says yes to the digest
  /// of what was copied. Returns what it said. `progress` gets the bytes done and the bytes in all.
  public static func make(
    _ from: String, to path: String, mode: UInt32 = 0o644, progress: (UInt64, UInt64) -> Void = { _, _ in },
    accept: (Digest) -> Bool
  ) throws(StorageError) -> Bool {
    let source = try OpenFile(from, O_RDONLY)
    let size = try source.size()
    try DurableFile.makeDirectory(DurableFile.folder(of: path), mode: 0o755)
    let temporary = "\(path).\(getpid()).tmp"
    do {
      let target = try OpenFile(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
      var hasher = SHA256()
      var at: UInt64 = 0
      while true {
        let piece = try source.read(at: at, count: 1 << 20)
        if piece.isEmpty { break }
        hasher.update(piece)
        try target.write(piece, at: at)
        at += UInt64(piece.count)
        progress(at, max(size, at))
      }
      guard accept(hasher.finalize()) else {
        unlink(temporary)
        return false
      }
      try target.sync()
      try DurableFile.move(temporary, to: path)
      return true
    } catch {
      unlink(temporary)
      throw error
    }
  }
}
