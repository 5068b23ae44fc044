import FoundationEssentials
import Testing
import Trust

/// Damaged TUF metadata of every role. It may be refused in any way; what is taken by its signatures must say what was
/// signed, and never anything else.
extension Fuzz {
  private static let date = Date(timeIntervalSince1970: 4_000_000_000)
  private static let now = Date(timeIntervalSince1970: 1_800_000_000)

  /// A whole repository by one key: delegations by patterns, by prefixes and into bins among it.
  private struct Files {
    let root, timestamp, snapshot, targets, bins: [UInt8]

    init() throws {
      let key = TUFKey(ed25519: Fuzz.key.verifyingKey)
      let roles = Dictionary(uniqueKeysWithValues: TUFRole.allCases.map { ($0, (keys: [key], threshold: 1)) })
      root = try TUFWriter.root(version: 1, expires: Fuzz.date, roles: roles).signed(by: [Fuzz.key])
      func delegating(_ members: [String: JSONValue]) throws -> [UInt8] {
        let target = TUFTarget(
          path: "models/a/1/a.gguf", length: 5, sha256: Digest(of: [1]), custom: ["skerry": ["kind": "model"]])
        let plain = TUFWriter.targets(version: 1, expires: Fuzz.date, targets: [target])
        guard var signed = plain.json.object else { return [] }
        signed["delegations"] = .object(members.merging(["keys": [key.keyID: key.json]]) { _, new in new })
        let message = try JSONValue.object(signed).canonicalOLPC()
        let signature: JSONValue = [
          "keyid": .string(key.keyID), "sig": .string(Hex.encode(Fuzz.key.sign(message))),
        ]
        return JSONValue.object(["signatures": [signature], "signed": .object(signed)]).encoded()
      }
      func role(_ name: String, _ cover: String, _ list: [JSONValue]) -> JSONValue {
        [
          "name": .string(name), "keyids": [.string(key.keyID)], "threshold": 1, "terminating": true,
          cover: .array(list),
        ]
      }
      targets = try delegating([
        "roles": [role("by-path", "paths", ["models/*/?/*"]), role("by-hash", "path_hash_prefixes", ["0", "1f"])]
      ])
      bins = try delegating([
        "succinct_roles": [
          "keyids": [.string(key.keyID)], "threshold": 1, "bit_length": 8, "name_prefix": "bin",
        ]
      ])
      snapshot = try TUFWriter.snapshot(
        version: 1, expires: Fuzz.date,
        files: ["targets.json": TUFFileMeta(of: TUFDocument(parsing: targets, as: .targets))]
      ).signed(by: [Fuzz.key])
      timestamp = try TUFWriter.timestamp(
        version: 1, expires: Fuzz.date, snapshot: TUFFileMeta(of: TUFDocument(parsing: snapshot, as: .snapshot))
      ).signed(by: [Fuzz.key])
    }
  }

  @Test func everyRolesMetadata() throws {
    let files = try Files()
    let root = try TrustedMetadata(trustedRoot: files.root)
    let samples: [(TUFRole, [[UInt8]])] = [
      (.root, [files.root]), (.timestamp, [files.timestamp]), (.snapshot, [files.snapshot]),
      (.targets, [files.targets, files.bins]),
    ]
    for (role, files) in samples {
      let good = try files.map { try TUFDocument(parsing: $0, as: role).signed }
      Self.feed("\(role).json", files) { input in
        let (document, _) = try root.verified(input, as: role)
        #expect(good.contains(document.signed), "damaged metadata of \(role) counts as signed")
        switch role {
        case .root: _ = try TUFRoot(document)
        case .timestamp: _ = try TUFTimestamp(document)
        case .snapshot: _ = try TUFSnapshot(document)
        case .targets: _ = try TUFTargets(document)
        }
      }
    }
  }

  /// The same without signatures in the way, so that what lies behind them is reached too.
  @Test func whatStandsBehindTheSignatures() throws {
    let files = try Files()
    for (role, file) in [
      (TUFRole.root, files.root), (.timestamp, files.timestamp), (.snapshot, files.snapshot), (.targets, files.targets),
      (.targets, files.bins),
    ] {
      Self.feed("unverified \(role).json", [file]) { input in
        let document = try TUFDocument(parsing: input, as: role)
        switch role {
        case .root: _ = try TUFRoot(document)
        case .timestamp: _ = try TUFTimestamp(document)
        case .snapshot: _ = try TUFSnapshot(document)
        case .targets:
          for path in ["models/a/1/a.gguf", "", "/"] { _ = try TUFTargets(document).delegations?.roles(for: path) }
        }
      }
    }
  }

  /// The whole workflow with one file of it damaged: it ends with the trusted set or an error, and with nothing kept
  /// that was not signed.
  @Test func theWorkflow() async throws {
    let files = try Files()
    let served = [
      "timestamp.json": files.timestamp, "1.snapshot.json": files.snapshot, "1.targets.json": files.targets,
    ]
    let samples = served.sorted { $0.key < $1.key }.map(\.value)
    var inputs: [[UInt8]] = []
    // Each is fetched as each of the files, and they are held meanwhile: fewer of them.
    Self.feed("workflow", samples, count: min(Self.count / 4, 20_000)) { inputs.append($0) }
    for input in inputs {
      for name in served.keys {
        var kept: [String: [UInt8]] = [:]
        let trusted = try? await TUFWorkflow.refresh(local: TUFLocalState(root: files.root), now: Fuzz.now) { file, _ in
          file == name ? input : served[file]
        } persist: { file, bytes in
          kept[file] = bytes
        }
        #expect(trusted == nil || trusted?.target("models/a/1/a.gguf")?.length == 5)
        for (file, bytes) in kept {
          let role = try #require(TUFRole(rawValue: String(file.dropLast(5))))
          let whole = file == "timestamp.json" ? "timestamp.json" : "1.\(file)"
          let good = try TUFDocument(parsing: try #require(served[whole]), as: role).signed
          #expect(try TUFDocument(parsing: bytes, as: role).signed == good)
        }
      }
    }
  }
}
