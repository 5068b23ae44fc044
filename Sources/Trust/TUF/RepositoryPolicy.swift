/// What the owners of a repository allow when its metadata has expired: the member `skerry` of the root's signed part.
/// Other implementations of TUF pass over it, as the specification asks of fields that they don't know.
public struct RepositoryPolicy: Hashable, Sendable {
  /// For so long after its expiry metadata may still bring in something new, in seconds.
  public var graceSeconds: Int64
  /// For so long after the first expiry installed models go on answering, in seconds; nil: for ever.
  public var staleSeconds: Int64?

  /// What holds where a root says nothing: nothing new on expired metadata, and what is installed runs for ever.
  public init(graceSeconds: Int64 = 0, staleSeconds: Int64? = nil) {
    self.graceSeconds = graceSeconds
    self.staleSeconds = staleSeconds
  }

  /// No longer time than this is read from a root, in seconds: a hundred years.
  public static let longest: Int64 = 100 * 365 * 86_400

  /// What a root says. A value that is no number of seconds counts as absent.
  public init(_ root: TUFRoot) {
    func seconds(_ name: String) -> Int64? {
      guard let value = root.document.signed["skerry"]?[name]?.integer, value >= 0 else { return nil }
      return min(value, RepositoryPolicy.longest)
    }
    self.init(graceSeconds: seconds("graceSeconds") ?? 0, staleSeconds: seconds("staleSeconds"))
  }

  /// The member's value; nil when there is nothing to say.
  public var json: JSONValue? {
    var members: [String: JSONValue] = [:]
    if graceSeconds > 0 { members["graceSeconds"] = .integer(graceSeconds) }
    members["staleSeconds"] = staleSeconds.map(JSONValue.integer)
    return members.isEmpty ? nil : .object(members)
  }
}
