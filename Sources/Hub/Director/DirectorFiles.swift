import Fleet
import Storage
import Trust

/// The director's files: `director/N.root.json` for all boxes, `director/DEVICE/…` for each, and `director/staged` for
/// roots that a publisher has uploaded and not committed.
struct DirectorFiles: Sendable {
  /// `repo/director` in the hub's directory.
  let directory: String

  /// Versions of a box's snapshot and targets that stay, so that a box in the middle of a refresh finds its files.
  private static let keptVersions: Int64 = 3

  /// The largest root that may be uploaded, in bytes; nil for a name that is no root's.
  static func rootLimit(_ name: String) -> Int? {
    name.hasSuffix(".root.json") && RepositoryFiles.metadataLimit(name) != nil ? 131_072 : nil
  }

  // MARK: roots

  func root(_ version: Int64) throws -> [UInt8]? { try DurableFile.read("\(directory)/\(version).root.json") }
  func stagedRoot(_ version: Int64) throws -> [UInt8]? {
    try DurableFile.read("\(directory)/staged/\(version).root.json")
  }

  func newestRoot() throws -> Int64? {
    try DurableFile.names(in: directory).compactMap { name in
      DirectorFiles.rootLimit(name) == nil ? nil : Int64(name.prefix { $0 != "." })
    }.max()
  }

  func stage(_ name: String, _ bytes: [UInt8]) throws {
    try DurableFile.makeDirectory("\(directory)/staged")
    try DurableFile.replace("\(directory)/staged/\(name)", with: bytes)
  }

  func publishRoot(_ version: Int64, _ bytes: [UInt8]) throws {
    try DurableFile.makeDirectory(directory)
    try DurableFile.replace("\(directory)/\(version).root.json", with: bytes)
  }

  func clearStaged() throws {
    for name in try DurableFile.names(in: "\(directory)/staged") {
      try DurableFile.remove("\(directory)/staged/\(name)")
    }
  }

  // MARK: boxes

  /// The path of a file as a box asks for it; nil for what is no metadata's name. Roots are the same for all.
  func path(_ device: DeviceID, _ name: String) -> String? {
    guard RepositoryFiles.metadataLimit(name) != nil else { return nil }
    return name.hasSuffix(".root.json") ? "\(directory)/\(name)" : "\(directory)/\(device)/\(name)"
  }

  func read(_ device: DeviceID, _ name: String) throws -> [UInt8]? {
    try DurableFile.read("\(directory)/\(device)/\(name)")
  }

  func write(_ device: DeviceID, _ name: String, _ bytes: [UInt8]) throws {
    try DurableFile.makeDirectory("\(directory)/\(device)")
    try DurableFile.replace("\(directory)/\(device)/\(name)", with: bytes)
  }

  /// The highest N of `N.role.json`; 0 when there is none.
  func newest(_ device: DeviceID, _ role: TUFRole) throws -> Int64 {
    try versions(device, role).max() ?? 0
  }

  /// Removes versions that no box can be in the middle of fetching.
  func prune(_ device: DeviceID) throws {
    for role in [TUFRole.snapshot, .targets] {
      let all = try versions(device, role)
      guard let newest = all.max() else { continue }
      for version in all where version <= newest - DirectorFiles.keptVersions {
        try DurableFile.remove("\(directory)/\(device)/\(version).\(role.rawValue).json")
      }
    }
  }

  private func versions(_ device: DeviceID, _ role: TUFRole) throws -> [Int64] {
    try DurableFile.names(in: "\(directory)/\(device)").compactMap { name in
      name.hasSuffix(".\(role.rawValue).json") ? Int64(name.prefix { $0 != "." }) : nil
    }
  }
}
