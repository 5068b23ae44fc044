/// Why a model's folder can't be read as one.
public enum ModelTreeError: Error, Hashable, CustomStringConvertible {
  /// A symbolic link, where none may be.
  case link(path: String)
  /// A symbolic link to a folder: what is behind it would be signed by nobody.
  case linkToFolder(path: String)
  /// A device, a pipe, a socket.
  case special(path: String)
  case notUTF8(path: String)
  case tooMany(limit: Int)
  case tooDeep(path: String)
  case changed(path: String)

  public var description: String {
    switch self {
    case .link(let path): "\(path) is a symbolic link; put the file itself there, or sign with --allow-symlinks"
    case .linkToFolder(let path): "\(path) is a symbolic link to a folder; only links to files can be followed"
    case .special(let path): "\(path) is neither a file nor a folder"
    case .notUTF8(let path): "\(path) has a name that is no UTF-8 and can't be written down"
    case .tooMany(let limit): "there are more than \(limit) files"
    case .tooDeep(let path): "\(path) lies too deep"
    case .changed(let path): "\(path) changed while it was read"
    }
  }
}
