import Models
import Storage
import Synchronization
import Trust

/// The headers of installed files, read once each. They were checked when the files came.
final class ModelHeaders: Sendable {
  private let store: ContentStore
  private let known = Mutex<[Digest: GGUFHeader]>([:])
  /// How many are kept: a chat template may be long.
  private static let most = 64

  init(store: ContentStore) { self.store = store }

  /// Nil when the file can't be read.
  func header(of manifest: ModelManifest) async -> GGUFHeader? {
    let digest = manifest.sha256
    if let header = known.withLock({ $0[digest] }) { return header }
    let (path, length) = (store.blobPath(digest), manifest.length)
    let read = try? await offPool {
      let file = try BlobFile(path)
      return try GGUFHeader.parse(fileSize: length) { try file.read(at: $0, count: $1) }
    }
    guard let header = read else { return nil }
    known.withLock { known in
      if known.count >= ModelHeaders.most { known.removeAll() }
      known[digest] = header
    }
    return header
  }
}
