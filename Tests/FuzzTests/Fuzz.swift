import Access
import Fleet
import FoundationEssentials
import Models
import Storage
import Testing
import Trust

/// Random, mutated and spliced bytes into every parser that sees bytes from outside. Nothing may trap, hang or take
/// memory beyond its bounds; whatever is taken must survive being written and read again.
///
/// `COUNT` is the number of inputs a parser (default 2,000); `SEED` repeats a run.
@Suite(.serialized) struct Fuzz {
  static let count = ProcessInfo.processInfo.environment["COUNT"].flatMap { Int($0) } ?? 2_000
  static let seed =
    ProcessInfo.processInfo.environment["SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)

  /// SplitMix64: small, and the same on every machine.
  struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  /// Feeds `parse` with damaged copies of `samples` and with noise; `parse` tells whether it took the input.
  static func feed(_ name: String, _ samples: [[UInt8]], count: Int = count, _ parse: ([UInt8]) throws -> Void) {
    var random = Generator(state: seed ^ name.utf8.reduce(0) { $0 &* 31 &+ UInt64($1) })
    var taken = 0
    for sample in samples {
      #expect(throws: Never.self, "\(name) refuses an undamaged sample") { try parse(sample) }
    }
    for _ in 0..<count {
      var input = samples.randomElement(using: &random) ?? []
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let at = input.isEmpty ? 0 : Int.random(in: 0..<input.count, using: &random)
        switch Int.random(in: 0..<7, using: &random) {
        case 0 where !input.isEmpty: input[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1 where !input.isEmpty: input[at] = UInt8.random(in: 0...255, using: &random)
        case 2 where !input.isEmpty: input.removeSubrange(at..<min(input.count, at + 9))
        case 3: input.insert(contentsOf: (0..<5).map { _ in UInt8.random(in: 0...255, using: &random) }, at: at)
        case 4 where !input.isEmpty: input = Array(input.prefix(at))
        case 5 where input.count > 8:
          let value: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]
          for offset in 0..<min(8, input.count - at) { input[at + offset] = value[offset] }
        default:
          input += (0..<Int.random(in: 0..<40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        }
      }
      if (try? parse(input)) != nil { taken += 1 }
    }
    print("fuzz \(name): \(count) inputs, \(taken) taken, seed \(seed)")
  }

  static let key = SigningKey.generate()

  @Test func json() {
    let samples = [#"{"a":[1,2.5,true,null,"x\u0041\n"],"b":{"c":-7}}"#, "[[[[[]]]]]", #""text""#].map {
      Array($0.utf8)
    }
    for json5 in [false, true] {
      Self.feed("json5=\(json5)", samples) { input in
        let value = try JSONValue(parsing: input, json5: json5)
        #expect(try JSONValue(parsing: value.encoded()) == value)
      }
    }
  }

  @Test func deepJSONIsRefusedOrRead() {
    for depth in [100, 1_000, 100_000] {
      let bomb = [UInt8](repeating: UInt8(ascii: "["), count: depth)
      #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: bomb) }
      #expect(throws: JSONSyntaxError.self) { try JSONValue(parsing: bomb, json5: true) }
    }
  }

  @Test func notes() throws {
    let text = Checkpoint(origin: "skerry/audit/x", size: 7, root: Digest(of: [1])).noteText
    let note = try SignedNote.sign(text: text, name: "skerry/audit/x", key: Self.key)
    Self.feed("signed note", [Array(note.encoded.utf8)]) { input in
      let read = try SignedNote(parsing: input)
      #expect(try SignedNote(parsing: Array(read.encoded.utf8)).encoded == read.encoded)
      _ = try Checkpoint(noteText: read.text)
    }
    let verifier = NoteVerifier(name: "skerry/audit/x", key: Self.key.verifyingKey)
    Self.feed("vkey", [Array(verifier.vkey.utf8)]) { _ = try NoteVerifier(vkey: String(decoding: $0, as: UTF8.self)) }
  }

  @Test func aDamagedNoteIsNeverTakenForSigned() throws {
    let text = Checkpoint(origin: "skerry/audit/x", size: 7, root: Digest(of: [1])).noteText
    let note = try SignedNote.sign(text: text, name: "skerry/audit/x", key: Self.key)
    let verifier = NoteVerifier(name: "skerry/audit/x", key: Self.key.verifyingKey)
    Self.feed("forged note", [Array(note.encoded.utf8)]) { input in
      let read = try SignedNote(parsing: input)
      if read.verified(by: verifier) { #expect(read.text == text) }
    }
  }

  @Test func keys() throws {
    Self.feed("pem", [try Self.key.pem()]) { _ = try SigningKey(pem: $0) }
    Self.feed("encrypted pem", [try Self.key.pem(passphrase: "x")]) { input in
      _ = try SigningKey(pem: input, passphrase: "x")
    }
  }

  @Test func gguf() {
    var file: [UInt8] = Array("GGUF".utf8) + [3, 0, 0, 0]
    func put(_ value: UInt64) { file += (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    put(0)
    put(1)
    let name = Array("general.architecture".utf8)
    put(UInt64(name.count))
    file += name + [8, 0, 0, 0]
    put(5)
    file += Array("llama".utf8)
    file += [UInt8](repeating: 0, count: 96 - file.count)
    Self.feed("gguf", [file]) { _ = try GGUFHeader.parse(bytes: $0) }
  }

  @Test func chunkIndexes() throws {
    let index = ChunkIndex(chunks: [(length: 65_536, id: Digest(of: [1])), (length: 70_000, id: Digest(of: [2]))])
    Self.feed("caibx", [index.caibx]) { input in
      let read = try ChunkIndex(caibx: input)
      #expect(try ChunkIndex(caibx: read.caibx).chunks == read.chunks)
    }
  }

  @Test func enrolmentTokens() throws {
    let token = EnrollmentToken(
      hub: "https://127.0.0.1:8443", pin: "sha256//" + Base64.encode([UInt8](repeating: 9, count: 32)),
      root: Digest(of: [1]), secret: "s3cret", expires: 9)
    Self.feed("enrolment token", [Array(token.encoded.utf8)]) { input in
      let read = try EnrollmentToken(parsing: String(decoding: input, as: UTF8.self))
      #expect(read.encoded == token.encoded, "a damaged token was taken for another one")
    }
  }

  @Test func policies() throws {
    let text = """
      {version: 1, roles: {chat: {summary: "ask", allow: [{verbs: ["infer"], resources: ["model:*"]}]}},
       bindings: [{role: "chat", subjects: ["local", "uid:7"]}]}
      """
    Self.feed("policy", [Array(text.utf8)]) { _ = try Policy(parsing: $0) }
    let fleet = """
      {version: 1, serial: 7, expires: "2027-01-31T00:00:00Z", staleRoles: ["chat"], ceiling: ["infer", "*"],
       trial: {days: 7, mostChanged: 5}, policy: \(text)}
      """
    let local = try Policy(parsing: Array(text.utf8))
    Self.feed("fleet policy", [Array(fleet.utf8)]) { input in
      let read = try FleetPolicy(parsing: input)
      #expect(read.reduced(with: local).policy.administrators.isEmpty)
      _ = (read.errors(), read.combined(with: local))
    }
  }

  @Test func compressedChunks() throws {
    let packed = try Zstd.compress([UInt8](repeating: 7, count: 4_096))
    Self.feed("zstd", [packed]) { input in
      let unpacked = try Zstd.decompress(input, limit: 8_192)
      #expect(unpacked.count <= 8_192)
    }
  }

  @Test func exports() throws {
    Self.feed("audit export", []) { input in
      #expect(AuditVerifier.verify(input).failure != nil, "noise was taken for an audit log")
    }
  }

  @Test func baseEncodings() {
    Self.feed("hex", [Array("00ff".utf8)]) { input in
      let text = String(decoding: input, as: UTF8.self)
      if let bytes = Hex.decode(text) { #expect(Hex.encode(bytes) == text.lowercased()) }
    }
    Self.feed("base64url", [Array("AAEC".utf8)]) { _ = Base64.decodeURL(String(decoding: $0, as: UTF8.self)) }
  }
}
