import Fleet
import Storage
import Trust

@testable import Agent

extension Publisher {
  /// The metadata as a sync would have left it: the image repository's, and a director's that names all of it.
  func keepMetadata(for device: DeviceID, in registry: String) throws {
    func keep(_ files: [String: [UInt8]], _ root: [UInt8], _ folder: String) throws {
      let store = MetadataStore(directory: registry + "/" + folder)
      try store.persist("root.json", root)
      for (name, bytes) in files where !name.hasSuffix("root.json") {
        try store.persist(name.split(separator: ".").suffix(2).joined(separator: "."), bytes)
      }
    }
    try keep(try metadata(), try root(), "tuf")
    let director = DirectorFiles(self, device: device, targets: state.withLock(\.targets))
    try keep(try director.files(), try director.root(), "director")
  }
}
