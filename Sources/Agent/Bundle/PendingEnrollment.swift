import Fleet
import FoundationEssentials
import Storage
import Trust

/// What a box remembers of its request to join a fleet until the answer comes on a stick. The token's secret is not in
/// it.
struct PendingEnrollment: Codable, Sendable {
  var hub: String
  var pin: String
  /// The digest of 1.root.json, which the answer must lead from.
  var root: Digest
  /// What shows that the answer is one to this request.
  var proof: Digest

  private static func path(in directory: String) -> String { directory + "/enrolment-pending.json" }

  static func load(from directory: String) throws -> PendingEnrollment? {
    guard let bytes = try DurableFile.read(path(in: directory), limit: 64 << 10) else { return nil }
    // One that can't be read is asked for again.
    return try? JSONDecoder().decode(PendingEnrollment.self, from: Data(bytes))
  }

  func save(in directory: String) throws {
    try DurableFile.replace(PendingEnrollment.path(in: directory), with: try JSONValue(encoding: self).encodedPretty())
  }

  static func remove(from directory: String) throws { try DurableFile.remove(path(in: directory)) }
}
