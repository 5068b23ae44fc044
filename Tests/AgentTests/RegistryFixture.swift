import Fleet
import FoundationEssentials
import Models
import Storage
import Synchronization
import Trust

@testable import Agent

/// A GGUF file that an engine would take, with as much noise for weights as is asked for.
func ggufFile(seed: UInt64, weights: Int = 600_000) -> [UInt8] {
  func le(_ value: UInt64, _ width: Int) -> [UInt8] {
    (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
  }
  func string(_ text: String) -> [UInt8] { le(UInt64(text.utf8.count), 8) + Array(text.utf8) }
  var bytes = Array("GGUF".utf8) + le(3, 4) + le(1, 8) + le(1, 8)
  bytes += string("general.architecture") + le(8, 4) + string("llama")
  bytes += string("w") + le(1, 4) + le(UInt64(weights), 8) + le(24, 4) + le(0, 8)
  bytes += [UInt8](repeating: 0, count: (32 - bytes.count % 32) % 32)
  var state = seed
  while bytes.count % 8 != 0 { bytes.append(0) }
  var noise: [UInt8] = []
  noise.reserveCapacity(weights + 8)
  while noise.count < weights {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed ^= mixed >> 27
    for shift in 0..<8 { noise.append(UInt8(truncatingIfNeeded: mixed >> (8 * UInt64(shift)))) }
  }
  return bytes + noise.prefix(weights)
}

/// A publisher with a chunk store and signed metadata, which can lie and fail in every way.
final class Publisher: ModelSource {
  struct Gone: Error {}
  enum Trouble: Sendable {
    case none
    /// The network goes away after so many chunks.
    case goneAfter(Int)
    case garbageChunks
    case otherChunks
    case garbageIndex
    case missingChunks
  }

  struct State: Sendable {
    var indexes: [Digest: [UInt8]] = [:]
    var chunks: [Digest: [UInt8]] = [:]
    var trouble = Trouble.none
    var served = 0
    var asked: [Digest] = []
    var targets: [TUFTarget] = []
    var version: Int64 = 0
  }
  let state = Mutex(State())
  let rootKey = SigningKey.generate()
  let targetsKey = SigningKey.generate()
  let onlineKey = SigningKey.generate()

  /// Publishes a file as a model; `target` may bend the manifest before it is signed.
  @discardableResult
  func publish(
    _ bytes: [UInt8], name: String, version: String = "1", index wrongIndex: ChunkIndex? = nil,
    bend: (inout ModelManifest) -> Void = { _ in }
  ) throws -> ModelManifest {
    var chunker = Chunker()
    var ends = chunker.push(bytes)
    if let last = chunker.finish() { ends.append(last) }
    var start = 0
    var chunks: [(length: Int, id: Digest)] = []
    for end in ends {
      let piece = Array(bytes[start..<Int(end)])
      let id = Digest(of: piece)
      chunks.append((piece.count, id))
      let packed = try Zstd.compress(piece)
      state.withLock { $0.chunks[id] = packed }
      start = Int(end)
    }
    let caibx = (wrongIndex ?? ChunkIndex(chunks: chunks)).caibx
    let digest = Digest(of: caibx)
    var manifest = ModelManifest(
      name: try ModelName(name) ?? { throw Gone() }(), version: try ModelVersion(version) ?? { throw Gone() }(),
      fileName: "\(name).gguf", length: UInt64(bytes.count), sha256: Digest(of: bytes),
      index: .init(length: UInt64(caibx.count), sha256: digest), architecture: "llama", contextLength: 2048)
    bend(&manifest)
    let target = TUFTarget(
      path: manifest.targetPath, length: manifest.length, sha256: manifest.sha256, custom: manifest.customJSON)
    state.withLock { state in
      state.indexes[digest] = caibx
      state.targets.append(target)
    }
    return manifest
  }

  func withdraw(_ manifest: ModelManifest) {
    state.withLock { $0.targets.removeAll { $0.path == manifest.targetPath } }
  }

  func set(_ trouble: Trouble) {
    state.withLock { state in
      state.trouble = trouble
      state.served = 0
      state.asked = []
    }
  }

  var asked: [Digest] { state.withLock(\.asked) }

  /// The metadata as it is signed now, one version further; all four files by their name.
  func metadata(
    expires: Date = Date(timeIntervalSince1970: 4_000_000_000), online: SigningKey? = nil, signedAt: Date? = nil
  ) throws -> [String: [UInt8]] {
    let onlineKey = online ?? onlineKey
    let (targets, version) = state.withLock { state in
      state.version += 1
      return (state.targets, state.version)
    }
    let targetsFile = try TUFWriter.targets(version: version, expires: expires, targets: targets).signed(by: [
      targetsKey
    ])
    let snapshotFile = try TUFWriter.snapshot(
      version: version, expires: expires,
      files: ["targets.json": TUFFileMeta(of: try TUFDocument(parsing: targetsFile, as: .targets))]
    ).signed(by: [onlineKey])
    let timestampFile = try TUFWriter.timestamp(
      version: version, expires: expires,
      snapshot: TUFFileMeta(of: try TUFDocument(parsing: snapshotFile, as: .snapshot)), signedAt: signedAt
    ).signed(by: [onlineKey])
    return [
      "1.root.json": try root(), "\(version).targets.json": targetsFile, "\(version).snapshot.json": snapshotFile,
      "timestamp.json": timestampFile,
    ]
  }

  private let rootFile = Mutex<[UInt8]?>(nil)

  func root() throws -> [UInt8] {
    if let known = rootFile.withLock({ $0 }) { return known }
    let made = try root(version: 1)
    rootFile.withLock { $0 = made }
    return made
  }

  /// Another root of the same owners, from the first on.
  func root(
    version: Int64, expires: Date = Date(timeIntervalSince1970: 4_000_000_000), online: SigningKey? = nil,
    policy: RepositoryPolicy = RepositoryPolicy()
  ) throws -> [UInt8] {
    let onlineKey = online ?? onlineKey
    func role(_ key: SigningKey) -> (keys: [TUFKey], threshold: Int) { ([TUFKey(ed25519: key.verifyingKey)], 1) }
    return try TUFWriter.root(
      version: version, expires: expires,
      roles: [
        .root: role(rootKey), .targets: role(targetsKey), .snapshot: role(onlineKey), .timestamp: role(onlineKey),
      ], policy: policy
    ).signed(by: [rootKey])
  }

  /// The first root is this one; before anybody asked for it.
  func begin(with root: [UInt8]) { rootFile.withLock { $0 = root } }

  /// The trusted set that a box comes to by the whole workflow.
  func trusted() async throws -> TrustedMetadata {
    let files = try metadata()
    return try await TUFWorkflow.refresh(
      local: TUFLocalState(root: try root()), now: Date(timeIntervalSince1970: 1_800_000_000)
    ) { name, _ in
      files[name]
    } persist: { _, _ in
    }
  }

  // MARK: ModelSource

  func index(_ digest: Digest, limit: Int) async throws -> [UInt8] {
    try state.withLock { state in
      if case .garbageIndex = state.trouble { return [UInt8](repeating: 0x20, count: limit) }
      guard let bytes = state.indexes[digest] else { throw RegistryError.notServed(digest.hex) }
      return bytes
    }
  }

  func chunk(_ id: Digest, limit: Int) async throws -> [UInt8] {
    try state.withLock { state in
      state.served += 1
      switch state.trouble {
      case .goneAfter(let count) where state.served > count: throw Gone()
      case .garbageChunks: return Array("not a zstd frame".utf8)
      case .otherChunks: return state.chunks.first { $0.key != id }?.value ?? []
      case .missingChunks: throw RegistryError.notServed(id.hex)
      default: break
      }
      guard let bytes = state.chunks[id] else { throw RegistryError.notServed(id.hex) }
      state.asked.append(id)
      return bytes
    }
  }
}

/// A registry in a folder of its own, which can be opened again as after a kill.
struct RegistryBox {
  let scratch: Scratch
  let records = Records()
  let inUse = InUse()

  final class InUse: Sendable {
    let digests = Mutex<Set<Digest>>([])
  }

  init() throws { scratch = try Scratch() }

  func open() async throws -> ModelRegistry {
    let database = try Database(path: scratch.path + "/agent.sqlite", migrations: AgentDatabase.migrations)
    let inUse = inUse
    return try await ModelRegistry.open(
      database: database, directory: scratch.path + "/registry", audit: records.writer,
      isInUse: { manifest in inUse.digests.withLock { $0.contains(manifest.sha256) } }, now: { 1_800_000_000 })
  }

  func events() -> [String] { records.of("model").compactMap { $0.fields["event"]?.string } }

  func blob(_ digest: Digest) -> String { scratch.path + "/registry/blobs/sha256/" + digest.hex }

  /// Flips a bit of a stored file.
  func flip(_ digest: Digest, at offset: Int) throws {
    var bytes = try DurableFile.read(blob(digest), limit: 1 << 30) ?? []
    bytes[offset] ^= 1
    try DurableFile.replace(blob(digest), with: bytes)
  }
}

extension ModelRegistry {
  /// What the image repository names and a hub wishes for, as if a director had said so.
  private func wish(_ trusted: TrustedMetadata, _ desired: [String]?) -> [AdmittedModel] {
    let signers = trusted.signers(of: "targets")
    return Assignment(desired).choose(among: trusted.targets).compactMap { choice in
      (try? ModelManifest(choice.target)).map { AdmittedModel($0, signers: signers) }
    }
  }

  func reconcile(
    trusted: TrustedMetadata, desired: [String]?, source: any ModelSource, progress: ProgressHandler? = nil
  ) async throws -> ReconcileResult {
    setTrusted(trusted)
    var result = try await reconcile(wanted: wish(trusted, desired), source: source, progress: progress)
    for target in trusted.targets where target.path.hasPrefix("models/") {
      do { _ = try ModelManifest(target) } catch { result.failures.append(("", error)) }
    }
    return result
  }

  func needsWork(desired: [String]?) async -> Bool {
    guard let trusted else { return false }
    return await needsWork(wanted: wish(trusted, desired))
  }
}
