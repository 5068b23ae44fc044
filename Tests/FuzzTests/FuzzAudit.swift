import Access
import Fleet
import FoundationEssentials
import Testing
import Trust

/// What an auditor's laptop and a collector read: records, exports in every form, proofs beside them, single proofs.
extension Fuzz {
  private static let origin = "skerry/audit/0123456789abcdef0123456789abcdef"

  /// Records of several kinds as a box writes them.
  private static var auditRecords: [[UInt8]] {
    let kinds: [(AuditKind, [String: JSONValue])] = [
      (
        .decision,
        ["allowed": false, "verb": "infer", "resource": "model:tiny:1", "reason": "no \"role\",\\ allows it"]
      ),
      (.start, ["version": "1", "sandbox": "active"]),
      (.attack, ["attack": "more", "role": "all", "reason": "x", "counts": ["replay": 3]]),
      (.sync, ["event": "done", "hub": "https://h", "activated": ["a:1", "b:2"], "changed": true, "uploaded": 7]),
      (.clock, ["event": "forgotten", "times": [1, 2, -3]]),
      (.token, ["action": "create", "token": "app", "roles": ["chat"], "scope": .null]),
    ]
    return kinds.enumerated().map { index, told in
      var members = AuditSchema.settle(told.0, told.1).members
      members.merge([
        "v": .integer(AuditSchema.version), "n": .integer(Int64(index)),
        "t": .integer(1_800_000_000_000 + Int64(index)),
        "kind": .string(told.0.rawValue), "actor": "uid:1000(=ann, \"x\")",
      ]) { $1 }
      return JSONValue.object(members).encoded()
    }
  }

  @Test func auditRecordsHoldToTheSchema() throws {
    let samples = Self.auditRecords
    Self.feed("audit record", samples) { input in
      let value = try JSONValue(parsing: input)
      let encoded = value.encoded()
      #expect(try JSONValue(parsing: encoded) == value && !encoded.contains(0x0A))
      guard let members = value.object else { return }
      for kind in AuditKind.allCases {
        let settled = AuditSchema.settle(kind, members)
        let record = JSONValue.object(settled.members)
        #expect(record.encoded().count <= AuditSchema.longestRecord)
        let again = AuditSchema.settle(kind, settled.members.filter { $0.key != "cut" })
        #expect(again.members.filter { $0.key != "cut" } == settled.members.filter { $0.key != "cut" })
      }
      _ = AuditSelection(subject: "uid:1000", model: "tiny").matches(value)
    }
  }

  @Test(arguments: [AuditFormat.ocsf, .syslog, .otlp, .csv])
  func auditFormats(_ format: AuditFormat) throws {
    let records = Self.auditRecords.enumerated().compactMap {
      AuditFormatRecord(origin: Self.origin, index: UInt64($0.offset), bytes: $0.element)
    }
    let lines = records.map { Array(format.encode([$0], version: "1").dropLast()) }
    Self.feed("audit \(format.rawValue)", lines) { input in
      _ = try? format.records(in: input)
      // What is taken is to the byte what is made of its records.
      let taken = try format.verifiedRecords(in: input, origin: Self.origin, version: "1")
      let made = taken.compactMap { bytes in
        (try? JSONValue(parsing: bytes))?["n"]?.integer.flatMap { UInt64(exactly: $0) }.flatMap {
          AuditFormatRecord(origin: Self.origin, index: $0, bytes: bytes)
        }
      }
      #expect(Array(format.encode(made, version: "1").dropLast()) == input)
    }
  }

  /// A signed export: what of a damaged one verifies is what was signed.
  @Test func signedExports() throws {
    let records = Self.auditRecords
    var tree = MerkleFrontier()
    for record in records { tree.append(Merkle.leafHash(record)) }
    let head = try SignedNote.sign(
      text: Checkpoint(origin: Self.origin, size: tree.size, root: tree.root).noteText, name: Self.origin, key: Self.key
    )
    let device = NoteVerifier(name: Self.origin, key: Self.key.verifyingKey)
    let header = AuditExportHeader(
      origin: Self.origin, size: tree.size, checkpoint: head, cosigned: nil, device: device, witness: nil)
    let lines: [[UInt8]] =
      [header.line] + records.enumerated().map { AuditExportEntry.line(index: UInt64($0.offset), record: $0.element) }
    let whole: [UInt8] = lines.flatMap { $0 + [0x0A] }
    Self.feed("signed export", [whole]) { input in
      let verdict = AuditVerifier.verify(input, deviceKey: device)
      if verdict.isValid {
        // Only what was asked for is said by nobody who signs.
        #expect(
          verdict.size == tree.size && input.suffix(records.last?.count ?? 0) == whole.suffix(records.last?.count ?? 0))
      }
      var reader = AuditExportReader()
      _ = try reader.push(input)
      try reader.finish()
    }
    let roots = [Digest(of: [1]), Digest(of: [2])]
    Self.feed("export lines", [header.line, lines[1], AuditExportGap(1..<4, roots: roots).line]) { input in
      if let read = try? AuditExportHeader(line: input) { #expect(read.line == input) }
      if let read = try? AuditExportGap(line: input) { #expect(read.line == input) }
      if let read = try? AuditExportEntry(line: input) {
        #expect(AuditExportEntry.line(index: read.index, record: read.record, hash: read.listedHash) == input)
      }
    }
  }

  @Test func proofFiles() throws {
    let records = Self.auditRecords
    let hashes = records.map { Array(Base64.encode(Merkle.leafHash($0).bytes).utf8) }
    let trailer = AuditProofFile.Trailer(
      format: .csv, bytes: 900, records: 6, sha256: Digest(of: [3]), version: "1.0")
    Self.feed("proof file", [AuditProofFile.line(from: 0, hashes: hashes), trailer.line]) { input in
      if let read = AuditProofFile.trailer(in: input) { #expect(read.line == input) }
      var left = records[...]
      var pushed = 0
      do {
        try AuditProofFile.native(input, isFirst: false, next: { left.popFirst() }) { pushed += $0.count }
      } catch is AuditExportError {}
      #expect(pushed <= input.count + records.joined().count + 400 * records.count)
    }
  }

  @Test func tlogProofs() throws {
    let records = Self.auditRecords
    var hashes: [Digest] = []
    var tree = MerkleFrontier()
    for record in records { hashes += tree.append(Merkle.leafHash(record)) }
    let head = try SignedNote.sign(
      text: Checkpoint(origin: Self.origin, size: tree.size, root: tree.root).noteText, name: Self.origin, key: Self.key
    )
    let path = try Merkle.inclusionProof(index: 2, size: tree.size) { indexes in indexes.map { hashes[Int($0)] } }
    let proof = try TlogProof(extra: records[2], index: 2, path: path, head: head)
    let verifier = NoteVerifier(name: Self.origin, key: Self.key.verifyingKey)
    Self.feed("tlog-proof", [Array(proof.encoded.utf8)]) { input in
      let read = try TlogProof(parsing: input)
      #expect(try TlogProof(parsing: Array(read.encoded.utf8)).encoded == read.encoded)
      if read.head.verified(by: verifier), let extra = read.extra, read.proves(extra) {
        #expect(records.indices.contains(Int(clamping: read.index)) && extra == records[Int(clamping: read.index)])
      }
    }
  }

  /// Every part of a policy file; what is read survives being decided on.
  @Test func wholePolicies() throws {
    let text = """
      {version: 1, roles: {
        chat: {summary: "ask", allow: [{verbs: ["infer"], resources: ["model:*"],
          when: {days: ["mon"], hours: "22:00-06:00", via: "network", networks: ["10.0.0.0/8"], labels: {site: "a"},
            maxContextTokens: 7}}], limits: {requestsPerMinute: 5, queue: null}, keepContent: {days: 30}},
        more: {inherits: ["chat"], forbid: [{verbs: ["*"], resources: ["audit:*"], unless: {via: "socket"}}],
          sharedLimits: {concurrency: 1}},
        admin: {allow: [{verbs: ["*"], resources: ["*"]}]}},
       bindings: [{role: "more", subjects: ["token:a", "group:b"], limits: {tokensPerDay: 9}},
         {role: "admin", subjects: ["uid:0"]}],
       forbid: [{verbs: ["sync.run"], resources: ["box:*"]}],
       separation: {static: {x: {roles: ["chat", "admin"], atMost: 1}}, dynamic: {y: {roles: ["more", "admin"]}}}}
      """
    Self.feed("whole policy", [Array(text.utf8)]) { input in
      let policy = try Policy(parsing: input)
      for caller in [Caller.token("a"), .local(uid: 0, name: nil, groups: [])] {
        _ = policy.decide(caller, .infer, .model("m"), in: RequestContext())
        if let days = policy.contentDays(caller, .infer, .model("m"), in: RequestContext()) {
          #expect((1...3650).contains(days))
        }
      }
    }
  }
}
