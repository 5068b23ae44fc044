import FoundationEssentials
import Trust

extension Repository {
  /// The trusted set of a box that has all that is published; nil before the first commit.
  func trustedMetadata() throws -> TrustedMetadata? { try published() }

  /// Every target as a box finds it, through the delegations: of a path that two roles name, the one whose turn is
  /// first. Sorted by path.
  func targets() throws -> [TUFTarget] {
    guard let trusted = try published(), let top = trusted.targetsMetadata else { return [] }
    var tree = TUFTargetsTree(top: top)
    while let edge = tree.next() {
      let file = "\(edge.role.name).json"
      do {
        guard let meta = trusted.snapshot?.files[file],
          let bytes = try files.metadata(trusted.fileName(file, meta.version))
        else { throw TUFError.missing(file: file) }
        // Nothing expires here: who may vouch for what is asked, and boxes judge the rest.
        tree.add(edge, try edge.role.verified(bytes, delegator: edge.from))
      } catch let error as TUFError {
        tree.fail(edge, error.description)
      }
    }
    return tree.reachable().map(\.target)
  }
}
