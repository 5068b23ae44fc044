import Models
import Trust
import Web

/// The hub as everything signed comes from it: both repositories' metadata, indexes and chunks.
struct HubFleetSource: FleetSource {
  let client: HubClient

  func imageMetadata(_ file: String, limit: Int) async throws -> [UInt8]? {
    try await client.get("/repo/metadata/\(file)", limit: limit)
  }

  func directorMetadata(_ file: String, limit: Int) async throws -> [UInt8]? {
    try await client.get("/repo/director/\(client.identity.id)/\(file)", limit: limit)
  }

  func index(_ digest: Digest, limit: Int) async throws -> [UInt8] {
    try await demanded("/repo/indexes/\(digest.hex).caibx", limit)
  }

  func index(
    _ digest: Digest, length: UInt64, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    try await client.download("/repo/indexes/\(digest.hex).caibx", length: length, from: offset, take: take)
  }

  func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] {
    try await demanded("/repo/chunks/\(id.hex.prefix(4))/\(id.hex).cacnk", limit)
  }

  func file(
    of manifest: ModelManifest, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    try await client.download(
      "/repo/targets/" + URLPath.encoded(manifest.filePath), length: manifest.length, from: offset, take: take)
  }

  /// What a box decides by waits for no quiet hour.
  func target(_ path: String, _ digest: Digest, limit: Int) async throws -> [UInt8] {
    guard let bytes = try await client.get("/repo/targets/" + URLPath.encoded(path), limit: limit) else {
      throw RegistryError.notServed(path)
    }
    return bytes
  }

  private func demanded(_ path: String, _ limit: Int) async throws -> [UInt8] {
    guard let bytes = try await client.blob(path, limit: limit) else { throw RegistryError.notServed(path) }
    return bytes
  }
}
