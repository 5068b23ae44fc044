import Fleet
import Models
import Trust

/// A bundle as the intake reads it. It is whole and the hub's own by now; the intake decides over it all the same, as
/// over what a hub serves.
struct BundleFleetSource: FleetSource {
  let stage: BundleStage
  let device: DeviceID

  func imageMetadata(_ file: String, limit: Int) async throws -> [UInt8]? {
    try await offPool { try stage.read(file.hasSuffix(".root.json") ? .imageRoot : .imageMetadata, file, limit: limit) }
  }

  func directorMetadata(_ file: String, limit: Int) async throws -> [UInt8]? {
    try await offPool {
      if file.hasSuffix(".root.json") { return try stage.read(.directorRoot, file, limit: limit) }
      return try stage.read(.directorMetadata, "\(device.hex)/\(file)", limit: limit)
    }
  }

  func index(_ digest: Digest, limit: Int) async throws -> [UInt8] {
    let bytes = try await offPool { try stage.read(.index, digest.hex, limit: limit) }
    guard let bytes else { throw BundleFleetSource.lacks("the index \(digest.hex.prefix(12))…") }
    return bytes
  }

  func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] {
    let bytes = try await offPool { try stage.chunk(id, limit: limit) }
    guard let bytes else { throw BundleFleetSource.lacks("the chunk \(id.hex.prefix(12))…") }
    return bytes
  }

  func file(
    of manifest: ModelManifest, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    guard let place = stage.place(.target, manifest.sha256.hex) else {
      throw BundleFleetSource.lacks("the file of \(manifest.label)")
    }
    var next = offset
    while next < place.length {
      let from = next
      let piece = try await offPool { try stage.read(place, at: from, count: 1 << 18) }
      guard !piece.isEmpty else { throw BundleError.cut }
      try await take(piece)
      next += UInt64(piece.count)
    }
  }

  func target(_ path: String, _ digest: Digest, limit: Int) async throws -> [UInt8] {
    let bytes = try await offPool { try stage.read(.target, digest.hex, limit: limit) }
    guard let bytes else { throw BundleFleetSource.lacks(path) }
    return bytes
  }

  static func lacks(_ what: String) -> RegistryError { .notServed("\(what) in this bundle: make one with --all") }
}
