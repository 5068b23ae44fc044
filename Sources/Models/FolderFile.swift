/// One file of a model that is a folder, as engines other than llama.cpp want it.
///
/// The folder travels inside a GGUF file, so that it is signed, cut into chunks, fetched and verified like any model: the
/// metadata `skerry.folder` names the folder's form (`mlx`, `transformers`, `onnx-genai`), and each file is a tensor of
/// bytes (I8) whose name is the file's path.
public struct FolderFile: Sendable, Hashable {
  public static let key = "skerry.folder"

  /// Relative to the folder; no part of it is empty, `.` or `..`.
  public let path: String
  /// From the beginning of the GGUF file, in bytes.
  public let offset: UInt64
  public let length: UInt64

  /// Throws `GGUFError` for a path that would leave the folder, and for what is no tensor of bytes.
  init(_ path: String, at offset: UInt64, _ length: UInt64, type: UInt32) throws(GGUFError) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    let isSafe = parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." } && !path.utf8.contains(0)
    guard isSafe, parts.count <= 8 else { throw .malformed("\(path) is no path of a file in a folder") }
    guard type == 24 else { throw .malformed("the file \(path) of the folder is no tensor of the type I8") }
    (self.path, self.offset, self.length) = (path, offset, length)
  }

  private init(_ other: FolderFile, offset: UInt64) {
    (path, length, self.offset) = (other.path, other.length, offset)
  }

  func moved(by start: UInt64) -> FolderFile { FolderFile(self, offset: offset + start) }
}

extension GGUFHeader {
  /// The form of the folder inside; nil for weights of llama.cpp's.
  public var folderForm: String? { metadata[FolderFile.key]?.string }
}
