import FoundationEssentials
import Testing

@testable import Trust

/// The enumeration finds for every path what a search for it finds.
@Suite struct TUFEnumerationTests {
  private struct Forest {
    static let expires = Date(timeIntervalSince1970: 1_900_000_000)
    let key = SigningKey.generate()
    var lists: [String: [UInt8]] = [:]

    mutating func list(_ name: String, _ paths: [String], _ delegations: [TUFDelegation] = []) throws {
      var signed = TUFWriter.targets(
        version: 1, expires: Self.expires,
        targets: paths.map { TUFTarget(path: $0, length: 1, sha256: Digest(of: Array(name.utf8))) })
      for delegation in delegations { try signed.set(delegation) }
      lists[name] = try signed.signed(by: [key])
    }

    func to(_ name: String, _ patterns: [String], terminating: Bool = false) -> TUFDelegation {
      TUFDelegation(
        name: name, keys: [TUFKey(ed25519: key.verifyingKey)], threshold: 1, paths: .patterns(patterns),
        isTerminating: terminating)
    }

    func tree() throws -> TUFTargetsTree {
      let top = try TUFTargets(TUFDocument(parsing: #require(lists["targets"]), as: .targets))
      var tree = TUFTargetsTree(top: top)
      while let edge = tree.next() {
        guard let bytes = lists[edge.role.name] else {
          tree.fail(edge, "missing")
          continue
        }
        do { tree.add(edge, try edge.role.verified(bytes, delegator: edge.from)) } catch {
          tree.fail(edge, error.description)
        }
      }
      return tree
    }
  }

  @Test func orderTerminationAndPathsDecide() throws {
    var forest = Forest()
    try forest.list(
      "targets", ["t"],
      [forest.to("first", ["a/*", "b/*"], terminating: true), forest.to("second", ["a/*", "c/*", "t"])])
    try forest.list("first", ["a/1", "c/1", "b/2"], [forest.to("inner", ["a/*", "c/*"])])
    try forest.list("inner", ["a/2", "c/3"])
    try forest.list("second", ["a/1", "a/3", "c/1", "t", "elsewhere"])
    let found = Dictionary(uniqueKeysWithValues: try forest.tree().reachable().map { ($0.target.path, $0.role) })
    #expect(found == ["t": "targets", "a/1": "first", "b/2": "first", "a/2": "inner", "c/1": "second"])
  }

  @Test func aRingIsGoneThroughOnce() throws {
    var forest = Forest()
    try forest.list("targets", [], [forest.to("a", ["*"])])
    try forest.list("a", ["x"], [forest.to("b", ["*"])])
    try forest.list("b", ["y"], [forest.to("a", ["*"])])
    #expect(try forest.tree().reachable().map(\.role) == ["a", "b"])
  }

  @Test func aListOfAnotherSignerIsAProblemAndListsNothing() throws {
    var forest = Forest()
    var other = Forest()
    try forest.list("targets", ["t"], [forest.to("a", ["*"])])
    try other.list("a", ["x"])
    forest.lists["a"] = other.lists["a"]
    let tree = try forest.tree()
    #expect(tree.problems.map(\.role) == ["a"] && tree.reachable().map(\.target.path) == ["t"])
    #expect(tree.find("x") == nil)
  }
}
