import Fleet
import FoundationEssentials
import Trust

@testable import Agent

/// The metadata of one box's director, with whatever content and keys a test wants; an honest one by default.
struct DirectorFiles {
  var device: DeviceID
  var targets: [TUFTarget] = []
  var version: Int64 = 1
  var expires = Date(timeIntervalSince1970: 4_000_000_000)
  var rootKeys: [SigningKey]
  var onlineKey: SigningKey

  init(_ publisher: Publisher, device: DeviceID, targets: [TUFTarget] = []) {
    self.device = device
    self.targets = targets
    rootKeys = [publisher.rootKey]
    onlineKey = publisher.onlineKey
  }

  func root(version: Int64 = 1, binding: TUFBinding = TUFBinding(repository: TUFBinding.director)) throws -> [UInt8] {
    let online: (keys: [TUFKey], threshold: Int) = ([TUFKey(ed25519: onlineKey.verifyingKey)], 1)
    return try TUFWriter.root(
      version: version, expires: Date(timeIntervalSince1970: 4_000_000_000),
      roles: [
        .root: (rootKeys.map { TUFKey(ed25519: $0.verifyingKey) }, rootKeys.count), .targets: online,
        .snapshot: online, .timestamp: online,
      ]
    ).bound(to: binding).signed(by: rootKeys)
  }

  /// All files of this version by name, without a root.
  func files() throws -> [String: [UInt8]] {
    let binding = TUFBinding(device: device.hex)
    func signed(_ value: TUFSigned) throws -> [UInt8] { try value.bound(to: binding).signed(by: [onlineKey]) }
    let targetsFile = try signed(TUFWriter.targets(version: version, expires: expires, targets: targets))
    let snapshotFile = try signed(
      TUFWriter.snapshot(
        version: version, expires: expires,
        files: ["targets.json": TUFFileMeta(of: try TUFDocument(parsing: targetsFile, as: .targets))]))
    let timestampFile = try signed(
      TUFWriter.timestamp(
        version: version, expires: expires,
        snapshot: TUFFileMeta(of: try TUFDocument(parsing: snapshotFile, as: .snapshot))))
    return [
      "\(version).targets.json": targetsFile, "\(version).snapshot.json": snapshotFile,
      "timestamp.json": timestampFile,
    ]
  }
}

/// The metadata of an image repository with whatever content and keys a test wants.
struct ImageFiles {
  var targets: [TUFTarget] = []
  var version: Int64 = 1
  var expires = Date(timeIntervalSince1970: 4_000_000_000)
  var rootKey: SigningKey
  var targetsKey: SigningKey
  var snapshotKey: SigningKey
  var timestampKey = SigningKey.generate()

  init(_ publisher: Publisher) {
    rootKey = publisher.rootKey
    targetsKey = publisher.targetsKey
    snapshotKey = publisher.onlineKey
  }

  func root(version: Int64 = 1, signers: [SigningKey]? = nil) throws -> [UInt8] {
    func role(_ key: SigningKey) -> (keys: [TUFKey], threshold: Int) { ([TUFKey(ed25519: key.verifyingKey)], 1) }
    return try TUFWriter.root(
      version: version, expires: Date(timeIntervalSince1970: 4_000_000_000),
      roles: [
        .root: role(rootKey), .targets: role(targetsKey), .snapshot: role(snapshotKey), .timestamp: role(timestampKey),
      ]
    ).signed(by: signers ?? [rootKey])
  }

  func files() throws -> [String: [UInt8]] {
    let targetsFile = try TUFWriter.targets(version: version, expires: expires, targets: targets).signed(by: [
      targetsKey
    ])
    let snapshotFile = try TUFWriter.snapshot(
      version: version, expires: expires,
      files: ["targets.json": TUFFileMeta(of: try TUFDocument(parsing: targetsFile, as: .targets))]
    ).signed(by: [snapshotKey])
    return [
      "\(version).targets.json": targetsFile, "\(version).snapshot.json": snapshotFile,
      "timestamp.json": try timestamp(version, of: snapshotFile),
    ]
  }

  func timestamp(_ version: Int64, of snapshot: [UInt8]) throws -> [UInt8] {
    try TUFWriter.timestamp(
      version: version, expires: expires, snapshot: TUFFileMeta(of: try TUFDocument(parsing: snapshot, as: .snapshot))
    ).signed(by: [timestampKey])
  }
}
