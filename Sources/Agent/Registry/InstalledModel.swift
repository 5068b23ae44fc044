import Models
import Trust

/// How far a model has come. Each state is on disk before the step that it stands for begins.
public enum ModelState: String, Sendable, Codable, CaseIterable {
  /// Its chunks are being gathered.
  case fetching
  /// Complete and verified, not yet given to callers.
  case staged
  /// Given to callers.
  case active
  /// Its bytes do not match the signed digest, or they are no GGUF; no engine gets it.
  case corrupt
}

/// A model that the registry knows.
public struct InstalledModel: Sendable, Hashable {
  public var manifest: ModelManifest
  public var state: ModelState
  /// The ids of the keys that signed the metadata which admitted it.
  public var signers: [String]
  /// When it was last activated, in Unix seconds.
  public var installedAt: Int64?
  /// Why it is corrupt.
  public var problem: String?
  /// How often the publication itself turned out wrong; after `failureLimit` it is left alone until it changes.
  public var failures = 0
  /// No longer wanted; removed as soon as nobody uses it.
  public var isRetired: Bool

  public static let failureLimit = 3

  public var name: ModelName { manifest.name }
  public var version: ModelVersion { manifest.version }
}

/// How far a long piece of work has come.
public struct SyncProgress: Sendable, Hashable {
  public enum Phase: String, Sendable, Codable {
    case connect, metadata, check, download, verify, activate, upload
  }
  public var phase: Phase
  /// The model that it is about, as `NAME:VERSION`.
  public var model: String?
  /// Bytes, or items where there are no bytes.
  public var done: UInt64
  public var total: UInt64

  public init(_ phase: Phase, model: String? = nil, done: UInt64 = 0, total: UInt64 = 0) {
    self.phase = phase
    self.model = model
    self.done = done
    self.total = total
  }
}

public typealias ProgressHandler = @Sendable (SyncProgress) -> Void

/// Where models come from: the hub, a mirror, neighbours, a stick. What comes is untrusted; who asks checks it against
/// the signed metadata.
public protocol ModelSource: Sendable {
  /// The `.caibx` file with this digest, at most `limit` bytes.
  func index(_ digest: Digest, limit: Int) async throws -> [UInt8]
  /// The same from the byte at `offset` to its end, as `file` does: a long index goes on where it stopped.
  func index(
    _ digest: Digest, length: UInt64, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws
  /// The compressed chunk (`.cacnk`, a Zstandard frame) with this id, at most `limit` bytes.
  func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8]
  /// The whole file of a model without a chunk index, from the byte at `offset` to its end: its pieces in their order, the
  /// next one when `take` has returned. What `take` throws ends it.
  func file(
    of manifest: ModelManifest, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws
  /// Told before a model's missing chunks are asked for, by their numbers in the index; returns them in the order in
  /// which it would rather be asked.
  func arrange(_ missing: [UInt32], of manifest: ModelManifest, _ index: ChunkIndex) async -> [UInt32]
}

extension ModelSource {
  public func index(
    _ digest: Digest, length: UInt64, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    let bytes = try await index(digest, limit: Int(clamping: length))
    if offset < UInt64(bytes.count) { try await take(Array(bytes[Int(offset)...])) }
  }

  public func file(
    of manifest: ModelManifest, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    throw RegistryError.notServed(manifest.filePath)
  }

  public func arrange(_ missing: [UInt32], of manifest: ModelManifest, _ index: ChunkIndex) async -> [UInt32] {
    missing
  }
}
