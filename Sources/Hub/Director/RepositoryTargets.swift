import FoundationEssentials
import Trust

extension Repository {
  /// The trusted set of a box that has all that is published; nil before the first commit.
  func trustedMetadata() throws -> TrustedMetadata? { try published() }

  /// Every target as a box finds it, through the delegations: of a path that two roles name, the one whose turn is
  /// first. Sorted by path.
  func targets() async throws -> [TUFTarget] {
    guard let trusted = try published() else { return [] }
    return trusted.targetsMetadata?.delegations == nil
      ? trusted.targets : try await Repository.delegatedTargets(trusted, files)
  }

  private nonisolated static func delegatedTargets(
    _ trusted: TrustedMetadata, _ files: RepositoryFiles
  ) async throws -> [TUFTarget] {
    var trusted = trusted
    var paths = Set(trusted.targets.map(\.path))
    for (file, meta) in trusted.snapshot?.files ?? [:] where file != "targets.json" && file.hasSuffix(".json") {
      let name = PercentEncoding.encode(String(file.dropLast(5))) + ".json"
      guard let bytes = try files.metadata(trusted.fileName(name, meta.version)),
        let listed = try? TUFTargets(TUFDocument(parsing: bytes, as: .targets))
      else { continue }
      paths.formUnion(listed.targets.map(\.path))
    }
    var found: [TUFTarget] = []
    for path in paths.sorted() {
      // Nothing expires here: who may vouch for what is asked, and boxes judge the rest.
      let target = try? await TUFWorkflow.find(path, in: &trusted, now: .distantPast) { _ in
        nil
      } fetch: { file, _ in
        try files.metadata(file)
      } persist: { _, _ in
      }
      if let target { found.append(target) }
    }
    return found
  }
}
