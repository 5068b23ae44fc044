import Fleet
import Host
import Models
import Storage
import Synchronization
import Trust

/// The model that this box is fetching now, as its neighbours see it: which chunks are here, and which are on their way
/// from the hub.
final class SharedFetch: Sendable {
  let manifest: ModelManifest
  let index: Digest
  let locator: ChunkLocator
  let flights = ChunkFlights()
  /// Lands when the neighbours have been told and have answered: before that this box does not know what it would fetch
  /// for a second time.
  let settled = Flight()
  private let hub: any ModelSource
  private let held: Mutex<ChunkSet>
  private let hubBytes = Atomic<UInt64>(0)

  /// `missing` has the number of the first chunk of each id that is not here.
  init(_ manifest: ModelManifest, index: Digest, locator: ChunkLocator, missing: [UInt32], hub: any ModelSource) {
    self.manifest = manifest
    self.index = index
    self.locator = locator
    self.hub = hub
    var absent = ChunkSet(count: locator.count)
    for number in missing { absent.insert(Int(number)) }
    var here = ChunkSet(count: locator.count)
    for number in 0..<locator.count where !absent.contains(number) { here.insert(number) }
    held = Mutex(here)
  }

  /// What neighbours are told: what is here, and what is about to be.
  var announced: ChunkSet {
    var set = held.withLock { $0 }
    for id in flights.all { if let place = locator.place(of: id) { set.insert(place.number) } }
    return set
  }

  func holds(_ number: Int) -> Bool { held.withLock { $0.contains(number) } }

  /// These bytes are right and on their way to the model's file.
  func arrived(_ id: ChunkID, _ bytes: [UInt8]) {
    flights.keep(id, bytes)
    if let place = locator.place(of: id) { held.withLock { $0.insert(place.number) } }
  }

  /// Bytes that the hub sent for this model.
  var fromHub: UInt64 { hubBytes.load(ordering: .relaxed) }

  /// The chunk's fetch from the hub, begun if need be. What arrives was checked: what goes on to a neighbour must not
  /// make a liar of this box.
  func fetchFromHub(_ id: ChunkID, length: Int, for asker: String? = nil) -> Flight {
    let (hub, label) = (hub, manifest.label)
    return flights.fetch(id) { [weak self] in
      Log.shared.debug("a chunk from the hub", ["chunk": id.hex, "for": asker ?? "itself"])
      let bytes = try await hub.chunk(id, limit: SharedFetch.limit(of: length))
      guard await SharedFetch.isRight(bytes, id, length: length) else { throw RegistryError.badChunk(model: label, id) }
      self?.hubBytes.wrappingAdd(UInt64(bytes.count), ordering: .relaxed)
      return bytes
    }
  }

  /// The most that a chunk of this length takes compressed: Zstandard's own bound is 1/256 and a few bytes.
  static func limit(of length: Int) -> Int { length + length / 128 + 1024 }

  /// Whether this frame holds the chunk.
  static func isRight(_ compressed: [UInt8], _ id: ChunkID, length: Int) async -> Bool {
    (try? await offPool { Digest(of: try Zstd.decompress(compressed, limit: length)) == id }) ?? false
  }
}

/// Reads chunks out of the files of models, for those that ask from elsewhere.
final class LocalChunks: Sendable {
  private let store: ContentStore
  /// The indexes that were used last.
  private let known = Mutex<[(index: Digest, locator: ChunkLocator)]>([])
  private static let remembered = 4

  init(store: ContentStore) { self.store = store }

  /// A chunk of the model with this index and file, compressed; nil when it is not there or not what it was.
  func chunk(_ id: ChunkID, index: Digest, file: Digest) async throws -> [UInt8]? {
    try await offPool { [self] in
      guard let locator = try locator(index), let place = locator.place(of: id) else { return nil }
      return try LocalChunks.read(id, place, in: [store.blobPath(file), store.partialPath(file)])
    }
  }

  /// The same from a model whose file is not whole yet.
  func chunk(_ id: ChunkID, of fetch: SharedFetch) async throws -> [UInt8]? {
    guard let place = fetch.locator.place(of: id) else { return nil }
    let file = fetch.manifest.sha256
    return try await offPool { [store] in
      try LocalChunks.read(id, place, in: [store.partialPath(file), store.blobPath(file)])
    }
  }

  /// A chunk index, byte for byte.
  func index(_ digest: Digest) async throws -> [UInt8]? {
    try await offPool { [store] in
      guard let bytes = try DurableFile.read(store.indexPath(digest), limit: 64 << 20), Digest(of: bytes) == digest
      else { return nil }
      return bytes
    }
  }

  private func locator(_ index: Digest) throws -> ChunkLocator? {
    if let found = known.withLock({ $0.first { $0.index == index }?.locator }) { return found }
    guard let read = try store.index(index) else { return nil }
    let locator = ChunkLocator(read)
    known.withLock { known in
      known.removeAll { $0.index == index }
      known.append((index, locator))
      if known.count > LocalChunks.remembered { known.removeFirst() }
    }
    return locator
  }

  private static func read(
    _ id: ChunkID, _ place: (number: Int, offset: UInt64, length: Int), in paths: [String]
  ) throws -> [UInt8]? {
    for path in paths where DurableFile.exists(path) {
      guard let file = try? BlobFile(path), let bytes = try? file.read(at: place.offset, count: place.length),
        Digest(of: bytes) == id
      else { continue }
      return try Zstd.compress(bytes, level: 1)
    }
    return nil
  }
}
