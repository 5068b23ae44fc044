import Fleet
import Models
import Storage
import Synchronization
import Trust

/// A bundle on its way in: written beside the state as it comes, checked to the last byte, and read only then. Nothing
/// of it takes effect before `finish`; a kill leaves a file that the next start removes.
final class BundleStage: Sendable {
  /// Where an entry's bytes are in the file.
  struct Place: Sendable, Hashable {
    var offset: UInt64
    var length: UInt64
  }

  /// Decides over what arrives, before more of it is kept.
  protocol Gate: Sendable {
    mutating func manifest(_ signed: SignedBundleManifest, free: UInt64) throws
    mutating func root(_ entry: BundleEntry, _ bytes: [UInt8]) throws
    /// All roots have been seen: is the manifest signed by somebody whose word counts?
    mutating func rootsEnded() throws
  }

  private struct State: ~Copyable {
    var reader = BundleReader()
    var gate: any Gate
    /// Bytes written so far.
    var written: UInt64 = 0
    /// Where the next entry's head begins.
    var position: UInt64 = 0
    var rootBytes: [UInt8] = []
    var areRootsOver = false
    var places: [String: Place] = [:]
    /// Chunks by id, as the file has them: sorted. Flat, so that a large model's cost 44 bytes each.
    var chunkIDs: [UInt8] = []
    var chunkOffsets: [UInt64] = []
    var chunkLengths: [UInt32] = []
  }

  private let spool: SpoolFile
  private let state: Mutex<State>

  init(path: String, gate: any Gate) throws(StorageError) {
    spool = try SpoolFile(path)
    state = Mutex(State(gate: gate))
  }

  deinit { remove() }

  /// The file goes; this stage reads on as long as it lives.
  func remove() { spool.remove() }

  /// The next piece. Throws `BundleError`, what the gate throws, and `StorageError`. Blocks.
  func take(_ bytes: [UInt8]) throws {
    try state.withLock { state in
      let free = try spool.freeSpace()
      var (gate, position, rootBytes, areRootsOver) = (
        state.gate, state.position, state.rootBytes, state.areRootsOver
      )
      var found: [(BundleEntry, Place)] = []
      try state.reader.push(bytes) { event in
        switch event {
        case .manifest(let signed):
          try gate.manifest(signed, free: free)
          position = UInt64(BundleFormat.headLength + signed.encoded.count)
        case .entry(let entry):
          guard entry.kind.rawValue < BundleKind.sealed.rawValue else {
            throw BundleError.malformed("an entry of kind \(entry.kind) in a hub's bundle")
          }
          position += UInt64(entry.header.count)
          found.append((entry, Place(offset: position, length: entry.length)))
          position += entry.length
          rootBytes = []
          if !entry.isRoot, !areRootsOver {
            areRootsOver = true
            try gate.rootsEnded()
          }
        case .bytes(let part):
          if !areRootsOver { rootBytes += part }
        case .end(let entry):
          if entry.isRoot { try gate.root(entry, rootBytes) }
        }
      }
      (state.gate, state.position, state.rootBytes, state.areRootsOver) = (gate, position, rootBytes, areRootsOver)
      for (entry, place) in found { try BundleStage.note(entry, place, &state) }
      try spool.write(bytes, at: state.written)
      state.written += UInt64(bytes.count)
    }
  }

  /// The bundle is whole, and it is the one that was signed. Returns the gate.
  func finish() throws -> any Gate {
    try state.withLock { state in
      if !state.areRootsOver {
        state.areRootsOver = true
        try state.gate.rootsEnded()
      }
      try state.reader.finish()
      return state.gate
    }
  }

  private static func note(_ entry: BundleEntry, _ place: Place, _ state: inout State) throws {
    guard entry.kind == .chunk else {
      state.places["\(entry.kind.rawValue) \(entry.name)"] = place
      return
    }
    guard let id = Digest(hex: entry.name), id.hex == entry.name else {
      throw BundleError.malformed("a chunk is named by its SHA-256")
    }
    state.chunkIDs += id.bytes
    state.chunkOffsets.append(place.offset)
    state.chunkLengths.append(UInt32(clamping: place.length))
  }

  // MARK: reading

  /// An entry's bytes; nil when there is none of this name, `.tooLarge` when it has more than `limit`.
  func read(_ kind: BundleKind, _ name: String, limit: Int) throws -> [UInt8]? {
    guard let place = place(kind, name) else { return nil }
    guard place.length <= UInt64(limit) else { throw SourceFault.endless(limit: limit) }
    return try spool.read(at: place.offset, count: Int(place.length))
  }

  func place(_ kind: BundleKind, _ name: String) -> Place? {
    state.withLock { $0.places["\(kind.rawValue) \(name)"] }
  }

  /// A part of an entry's bytes.
  func read(_ place: Place, at offset: UInt64, count: Int) throws -> [UInt8] {
    guard offset < place.length else { return [] }
    return try spool.read(at: place.offset + offset, count: Int(min(UInt64(count), place.length - offset)))
  }

  func chunk(_ id: Digest, limit: Int) throws -> [UInt8]? {
    let place = state.withLock { state -> Place? in
      var (low, high) = (0, state.chunkOffsets.count)
      while low < high {
        let middle = (low + high) / 2
        let found = state.chunkIDs[middle * Digest.length..<(middle + 1) * Digest.length]
        if found.elementsEqual(id.bytes) {
          return Place(offset: state.chunkOffsets[middle], length: UInt64(state.chunkLengths[middle]))
        }
        if found.lexicographicallyPrecedes(id.bytes) { low = middle + 1 } else { high = middle }
      }
      return nil
    }
    guard let place else { return nil }
    guard place.length <= UInt64(limit) else { throw SourceFault.endless(limit: limit) }
    return try spool.read(at: place.offset, count: Int(place.length))
  }
}

extension BundleEntry {
  var isRoot: Bool { kind == .imageRoot || kind == .directorRoot }
}
