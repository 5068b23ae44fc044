import Models
import Trust

/// Which models a box is to have, as its operator wrote it: words in any order, nil for the newest of every name.
///
/// | word | means |
/// |---|---|
/// | `NAME` | the newest version |
/// | `NAME:VERSION` | this version |
/// | `NAME=VERSION` | this version, even where the box has had a newer one: a signed rollback |
/// | `*` | the newest of every name that no other word names |
/// | `policies/NAME` | the policy of this name, instead of the one called `default` |
public struct Assignment: Hashable, Sendable {
  /// One model that the box is to have.
  public struct Choice: Hashable, Sendable {
    public let target: TUFTarget
    public let isRollback: Bool
  }

  public static let everything = "*"

  public let words: [String]?

  public init(_ words: [String]?) { self.words = words }

  /// The word of a signed rollback.
  public static func rollback(_ name: ModelName, to version: ModelVersion) -> String { "\(name)=\(version)" }

  /// Whether a word has one of the forms above.
  public static func isWord(_ word: String) -> Bool {
    if word == everything || policyName(of: word) != nil { return true }
    let parts = split(word)
    return parts.name != nil && (parts.mark == nil || parts.version != nil)
  }

  /// The same with a rollback of one name: other words of that name go.
  public func rollingBack(_ name: ModelName, to version: ModelVersion) -> Assignment {
    let others = (words ?? [Assignment.everything]).filter { Assignment.split($0).name != name }
    return Assignment(others + [Assignment.rollback(name, to: version)])
  }

  /// The policy's name of `policies/NAME`; nil for other words.
  public static func policyName(of word: String) -> ModelName? {
    word.hasPrefix(PolicyTarget.folder) ? ModelName(word.dropFirst(PolicyTarget.folder.count)) : nil
  }

  /// The name of the assigned policy; nil: the one called `default`.
  public var policy: ModelName? { (words ?? []).compactMap(Assignment.policyName).first }

  /// The same with another policy; nil: the one called `default`.
  public func deciding(by policy: ModelName?) -> Assignment {
    let others = (words ?? [Assignment.everything]).filter { Assignment.policyName(of: $0) == nil }
    guard let policy else { return others == [Assignment.everything] ? Assignment(nil) : Assignment(others) }
    return Assignment(others + [PolicyTarget.folder + policy.description])
  }

  /// Other models with the same policy, unless the words name one.
  public func assigning(_ models: [String]?) -> Assignment {
    let next = Assignment(models)
    return next.policy == nil ? next.deciding(by: policy) : next
  }

  /// The name that a word is about; nil for `*` and for what is no word.
  public static func name(of word: String) -> ModelName? { split(word).name }

  private static func split(_ word: String) -> (name: ModelName?, version: ModelVersion?, mark: Character?) {
    guard let place = word.firstIndex(where: { $0 == ":" || $0 == "=" }) else { return (ModelName(word), nil, nil) }
    return (ModelName(word[..<place]), ModelVersion(word[word.index(after: place)...]), word[place])
  }

  /// What the words choose among signed targets, sorted by path. Words that no target fits choose nothing.
  public func choose(among targets: [TUFTarget]) -> [Choice] {
    var byName: [ModelName: [(manifest: ModelManifest, target: TUFTarget)]] = [:]
    for target in targets where target.path.hasPrefix("models/") {
      guard let manifest = try? ModelManifest(target) else { continue }
      byName[manifest.name, default: []].append((manifest, target))
    }
    for name in byName.keys {
      byName[name]?.sort { ($0.manifest.version, $0.manifest.fileName) < ($1.manifest.version, $1.manifest.fileName) }
    }
    let words = words ?? [Assignment.everything]
    let named = Set(words.compactMap { Assignment.split($0).name })
    var chosen: [String: Choice] = [:]
    func take(_ target: TUFTarget?, isRollback: Bool = false) {
      guard let target else { return }
      chosen[target.path] = Choice(target: target, isRollback: isRollback || chosen[target.path]?.isRollback == true)
    }
    for word in words {
      if word == Assignment.everything {
        for (name, versions) in byName where !named.contains(name) { take(versions.last?.target) }
        continue
      }
      let (name, version, mark) = Assignment.split(word)
      guard let name, let versions = byName[name] else { continue }
      guard mark != nil else {
        take(versions.last?.target)
        continue
      }
      take(versions.last { $0.manifest.version == version }?.target, isRollback: mark == "=")
    }
    // A policy that is assigned and not published is none: no other takes its place.
    let policy = policy?.description ?? PolicyTarget.standard
    take(targets.first { PolicyTarget($0)?.name.description == policy })
    return chosen.values.sorted { $0.target.path < $1.target.path }
  }
}
