import FoundationEssentials
import Testing

@testable import Trust

@Suite struct TUFDelegationTests {
  @Test(arguments: [
    ("*", "a", true), ("*", "a/b", false), ("*/*", "a/b", true), ("targets/*.tgz", "targets/foo.tgz", true),
    ("targets/*.tgz", "targets/foo.txt", false), ("foo-version-?.tgz", "foo-version-2.tgz", true),
    ("foo-version-?.tgz", "foo-version-alpha.tgz", false), ("*.tgz", "foo.tgz", true),
    ("*.tgz", "targets/foo.tgz", false),
    ("a*b*c", "aXXbYYc", true), ("a*b*c", "aXXbYY", false), ("", "", true), ("a/", "a", false), ("A", "a", false),
    ("?", "\u{E9}", true), ("a**", "a", true), ("a*", "a/\u{338}b", false), ("a/*", "a/\u{338}b", true),
  ])
  func patternsStayWithinTheirFolder(pattern: String, path: String, matches: Bool) {
    #expect(TUFPathPattern.matches(pattern, path) == matches)
  }

  @Test func aHostilePatternCostsLittle() {
    let pattern = String(repeating: "*a", count: 500) + "b"
    #expect(!TUFPathPattern.matches(pattern, String(repeating: "a", count: 5_000)))
  }

  @Test(arguments: [(1, 2), (8, 256), (10, 1024)])
  func succinctBinsCoverEveryPathOnce(bits: Int, bins: Int) throws {
    let delegations = try TUFDelegations([
      "keys": [:],
      "succinct_roles": [
        "keyids": [], "threshold": 1, "bit_length": .integer(Int64(bits)), "name_prefix": "bin",
      ],
    ])
    var seen: Set<String> = []
    for number in 0..<5_000 {
      let roles = delegations.roles(for: "file-\(number)")
      #expect(roles.count == 1)
      seen.formUnion(roles.map(\.name))
    }
    #expect(seen.count <= bins && seen.count > bins / 2)
    let width = (bits + 3) / 4
    #expect(seen.allSatisfy { $0.hasPrefix("bin-") && $0.utf8.count == 4 + width })
  }

  @Test(arguments: [
    #"{}"#, #"{"keys":{},"roles":[{"keyids":[],"threshold":1,"paths":[]}]}"#,
    #"{"keys":{},"roles":[{"name":"a","keyids":[],"threshold":1}]}"#,
    #"{"keys":{},"roles":[{"name":"a","keyids":[],"threshold":0,"paths":[]}]}"#,
    #"{"keys":{},"roles":[{"name":"a","keyids":["k","k"],"threshold":2,"paths":[]}]}"#,
    #"{"keys":{},"roles":[{"name":"targets","keyids":[],"threshold":1,"paths":[]}]}"#,
    #"{"keys":{},"roles":[{"name":"a","keyids":[],"threshold":1,"paths":[],"path_hash_prefixes":[]}]}"#,
    #"{"keys":{},"succinct_roles":{"keyids":[],"threshold":1,"bit_length":0,"name_prefix":"b"}}"#,
    #"{"keys":{},"succinct_roles":{"keyids":[],"threshold":1,"bit_length":33,"name_prefix":"b"}}"#,
    #"{"keys":{},"roles":[],"succinct_roles":{"keyids":[],"threshold":1,"bit_length":1,"name_prefix":"b"}}"#,
  ])
  func malformedDelegationsAreRefused(text: String) throws {
    let value = try JSONValue(parsing: Array(text.utf8))
    #expect(throws: TUFError.self) { try TUFDelegations(value) }
  }

  // MARK: The search

  /// A repository whose top-level targets and roles delegate as told.
  private struct Tree {
    var fixture: TUFFixture
    let key = SigningKey.generate()
    var delegated: [String: [UInt8]] = [:]

    /// `edges`: role to (role, patterns, terminating); `holds`: which role has which path.
    init(_ edges: [String: [(String, [String], Bool)]], holds: [String: [String]]) throws {
      fixture = try TUFFixture()
      for name in Set(edges.values.joined().map(\.0)) {
        try add(name, version: 1, edges: edges[name] ?? [], holds: holds[name] ?? [], by: key)
      }
      let top = try signed(
        "targets", version: 1, edges: edges["targets"] ?? [], holds: holds["targets"] ?? [], by: fixture.targetsKey)
      fixture.files["1.targets.json"] = top
      try fixture.publishSnapshot()
    }

    mutating func add(
      _ name: String, version: Int64, edges: [(String, [String], Bool)], holds: [String], by key: SigningKey
    )
      throws
    {
      let bytes = try signed(name, version: version, edges: edges, holds: holds, by: key)
      delegated["\(version).\(PercentEncoding.encode(name)).json"] = bytes
      fixture.otherFiles["\(name).json"] = TUFFileMeta(of: try TUFDocument(parsing: bytes, as: .targets))
    }

    private func signed(
      _ name: String, version: Int64, edges: [(String, [String], Bool)], holds: [String], by signer: SigningKey
    ) throws -> [UInt8] {
      let targets = holds.map { TUFTarget(path: $0, length: 1, sha256: Digest(of: name.utf8)) }
      var members = try #require(
        TUFWriter.targets(version: version, expires: TUFFixture.days(9), targets: targets).json.object)
      let listed = TUFKey(ed25519: key.verifyingKey)
      if !edges.isEmpty {
        members["delegations"] = [
          "keys": .object([listed.keyID: listed.json]),
          "roles": .array(
            edges.map { name, patterns, terminating in
              [
                "name": .string(name), "keyids": [.string(listed.keyID)], "threshold": 1,
                "terminating": .bool(terminating), "paths": .array(patterns.map { .string($0) }),
              ]
            }),
        ]
      }
      return try TUFSigned(json: .object(members)).signed(by: [signer])
    }

    /// Who vouches for the path, and which files were fetched on the way.
    func find(_ path: String, kept: [String: [UInt8]] = [:]) async throws -> (owner: Digest?, fetched: [String]) {
      let files = fixture.files.merging(delegated) { one, _ in one }
      let root = try #require(files["1.root.json"])
      var trusted = try await TUFWorkflow.refresh(local: TUFLocalState(root: root), now: TUFFixture.now) { file, _ in
        files[file]
      } persist: { _, _ in
      }
      var fetched: [String] = []
      let target = try await TUFWorkflow.find(path, in: &trusted, now: TUFFixture.now) { file in
        kept[file]
      } fetch: { file, _ in
        fetched.append(file)
        return files[file]
      } persist: { _, _ in
      }
      return (target?.sha256, fetched)
    }
  }

  @Test func theFirstInOrderWins() async throws {
    let tree = try Tree(
      ["targets": [("A", ["*"], false), ("B", ["*"], false)], "A": [("C", ["*"], false)]],
      holds: ["B": ["x"], "C": ["x"]])
    let found = try await tree.find("x")
    #expect(found.owner == Digest(of: "C".utf8))
    #expect(found.fetched == ["1.A.json", "1.C.json"])
  }

  @Test func aTerminatingRoleEndsTheSearch() async throws {
    let tree = try Tree(
      ["targets": [("A", ["*"], true), ("B", ["*"], false)]], holds: ["B": ["x"]])
    let found = try await tree.find("x")
    #expect(found.owner == nil)
    #expect(found.fetched == ["1.A.json"])
  }

  @Test func aCircleEnds() async throws {
    let tree = try Tree(
      ["targets": [("A", ["*"], false)], "A": [("B", ["*"], false)], "B": [("A", ["*"], false)]], holds: [:])
    #expect(try await tree.find("x").fetched == ["1.A.json", "1.B.json"])
  }

  @Test func aRoleVouchesOnlyForWhatItWasGiven() async throws {
    let tree = try Tree(["targets": [("A", ["mine/*"], false)]], holds: ["A": ["mine/x", "yours/x"]])
    #expect(try await tree.find("mine/x").owner == Digest(of: "A".utf8))
    #expect(try await tree.find("yours/x").owner == nil)
  }

  @Test func aKeptRoleIsVerifiedAgainAgainstWhoDelegatesNow() async throws {
    var tree = try Tree(["targets": [("A", ["*"], false)]], holds: ["A": ["x"]])
    let kept = try #require(tree.delegated["1.A.json"])
    #expect(try await tree.find("x", kept: ["A.json": kept]).fetched == [])
    let foreign = SigningKey.generate()
    let good = tree.delegated
    try tree.add("A", version: 1, edges: [], holds: ["x"], by: foreign)
    let forged = try #require(tree.delegated["1.A.json"])
    tree.delegated = good
    #expect(try await tree.find("x", kept: ["A.json": forged]).fetched == ["1.A.json"])
  }

  @Test func aRoleThatAnotherKeySignedIsRefused() async throws {
    var tree = try Tree(["targets": [("A", ["*"], false)]], holds: ["A": ["x"]])
    try tree.add("A", version: 2, edges: [], holds: ["x"], by: SigningKey.generate())
    try tree.fixture.publishSnapshot()
    await #expect(throws: TUFError.self) { try await tree.find("x") }
  }

  @Test func aRoleThatTheSnapshotDoesNotNameIsRefused() async throws {
    var tree = try Tree(["targets": [("A", ["*"], false)]], holds: ["A": ["x"]])
    tree.fixture.otherFiles = [:]
    try tree.fixture.publishSnapshot()
    await #expect(throws: TUFError.removed(file: "A.json")) { try await tree.find("x") }
  }

  @Test func aRolesNameCantLeaveTheFolder() async throws {
    let tree = try Tree(["targets": [("../A", ["*"], false)]], holds: ["../A": ["x"]])
    #expect(try await tree.find("x").fetched == ["1...%2FA.json"])
  }
}
