import Fleet
import FoundationEssentials
import Glibc
import Models
import Storage
import Synchronization
import Testing
import Trust

@testable import Agent

/// A thousand changes to what lies on a box's disk, of every kind, each before an engine is asked for; and whatever an
/// engine then opens has the digest that the publisher signed. The engine is a shell script that writes down the digest
/// of the file that it was given.
@Suite(.serialized) struct MutationTests {
  /// `MUTATIONS` for more or fewer.
  private static let count = ProcessInfo.processInfo.environment["MUTATIONS"].flatMap { Int($0) } ?? 1_000

  private final class Bench {
    let vouched: VouchedBox
    let manifest: ModelManifest
    /// A whole, undamaged state folder.
    let pristine: Scratch
    let engine: String
    let log: String
    var random = SystemRandomNumberGenerator()

    init() async throws {
      vouched = try VouchedBox()
      // An older version first, so that there is a database to go back to.
      let old = try vouched.publisher.publish(ggufFile(seed: 1, weights: 40_000), name: "tiny", version: "1")
      let (first, _) = try await vouched.sync()
      await first.database.close()
      try FileManager.default.copyItem(
        atPath: vouched.box.scratch.path + "/agent.sqlite", toPath: vouched.box.scratch.path + "/old.sqlite")
      vouched.publisher.withdraw(old)
      manifest = try vouched.publisher.publish(ggufFile(seed: 2, weights: 40_000), name: "tiny", version: "2")
      let (second, result) = try await vouched.sync()
      #expect(result.activated == ["tiny:2"])
      await second.database.close()
      pristine = try Scratch()
      try FileManager.default.copyItem(atPath: vouched.box.scratch.path, toPath: pristine.path + "/state")
      engine = pristine.path + "/engine"
      log = pristine.path + "/opened"
      let script = """
        #!/bin/sh
        while [ "$1" != --model ]; do shift; done
        sha256sum < "$2" >> \(log)
        while [ "$1" != --host ]; do shift; done
        : > "$2"; exec cat > /dev/null
        """
      try DurableFile.replace(engine, with: Array(script.utf8), mode: 0o700)
    }

    /// The digests that engines have opened so far.
    func opened() throws -> [String] {
      let text = String(decoding: try DurableFile.read(log) ?? [], as: UTF8.self)
      return text.split(separator: "\n").map { String($0.prefix(64)) }
    }

    /// Opens what lies in the folder as the next start would, and asks for an engine. True when one came.
    func ask(_ state: String, between: @Sendable @escaping () -> Void = {}) async throws -> Bool {
      let root = try vouched.publisher.root()
      let device = vouched.device
      let database: Database
      do { database = try Database(path: state + "/agent.sqlite", migrations: AgentDatabase.migrations) } catch {
        return false
      }
      defer { database.close() }
      let registry: ModelRegistry
      do {
        registry = try await ModelRegistry.open(
          database: database, directory: state + "/registry", audit: { _, _, _ in },
          vouching: Vouching(device: device) { Digest(of: root) }, now: { 1_800_000_000 })
      } catch { return false }
      var configuration = AgentConfiguration.Engine()
      configuration.startSeconds = 20
      let service = InferenceService(
        launcher: EngineLauncher(
          program: engine, configuration: configuration, socketDirectory: pristine.path + "/sockets",
          sandbox: SandboxState(mode: .off, isActive: false, reason: nil), isReady: { _ in true }),
        locate: { model, _ in
          let file = try await registry.verifiedFile(model.label, sha256: model.sha256)
          between()
          return EngineFiles(model: file)
        }, audit: { _, _, _ in })
      let isThere: Bool
      do {
        let model = EngineModel(try await registry.answering("tiny"))
        _ = try await service.acquire(model)
        isThere = true
      } catch {
        isThere = false
      }
      await service.shutdown(drain: .zero)
      return isThere
    }

    func bytes(_ path: String) throws -> [UInt8] { try DurableFile.read(path, limit: 1 << 30) ?? [] }

    /// Changes something in a copy of the state; what, in a word.
    func mutate(_ state: String, _ number: Int) async throws -> String {
      let registry = state + "/registry"
      let blob = "\(registry)/blobs/sha256/\(manifest.sha256.hex)"
      func flip(_ path: String, in range: Range<Int>? = nil) throws {
        var content = try bytes(path)
        let at = Int.random(in: range ?? 0..<content.count, using: &random)
        content[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        try DurableFile.replace(path, with: content)
      }
      func metadata(_ folder: String) throws -> String {
        let names = try DurableFile.names(in: "\(registry)/\(folder)").filter { $0.hasSuffix(".json") }
        return "\(registry)/\(folder)/\(try #require(names.randomElement(using: &random)))"
      }
      switch number % 16 {
      case 0, 1, 2:
        try flip(blob, in: 200..<40_000)
        return "tensor"
      case 3, 4:
        try flip(blob, in: 0..<200)
        return "header"
      case 5:
        try DurableFile.replace(blob, with: Array(try bytes(blob).dropLast(Int.random(in: 1...4_000, using: &random))))
        return "cut"
      case 6:
        try DurableFile.replace(blob, with: ggufFile(seed: UInt64(number) + 99, weights: 40_000))
        return "another file"
      case 7:
        let foreign = state + "/foreign"
        try DurableFile.replace(foreign, with: ggufFile(seed: UInt64(number) + 99, weights: 40_000))
        unlink(blob)
        symlink(foreign, blob)
        return "symbolic link"
      case 8:
        try flip("\(registry)/indexes/\(try #require(manifest.indexDigest).hex).caibx")
        return "index"
      case 9:
        try flip(try metadata("admitted"))
        return "kept metadata and its signatures"
      case 10:
        try flip(try metadata(number % 32 < 16 ? "tuf" : "director"))
        return "current metadata"
      case 11:
        try flip(try metadata("tuf/roots"))
        return "roots"
      case 12:
        // A row for a foreign file that is really there.
        let foreign = ggufFile(seed: UInt64(number) + 99, weights: 40_000)
        let digest = Digest(of: foreign)
        try DurableFile.replace("\(registry)/blobs/sha256/\(digest.hex)", with: foreign)
        let database = try Database(path: state + "/agent.sqlite", migrations: AgentDatabase.migrations)
        let withNote = number % 32 < 16
        try await database.write { connection in
          try connection.execute(
            "UPDATE models SET sha256 = ?, length = ? WHERE retired = 0", .text(digest.hex), SQLValue(foreign.count))
          if withNote { try connection.execute("UPDATE OR REPLACE vouchers SET sha256 = ?", .text(digest.hex)) }
        }
        database.close()
        return "row"
      case 13:
        // The database of an earlier day, with its model's file: signed once, and nothing foreign.
        for suffix in ["-wal", "-shm"] { unlink(state + "/agent.sqlite" + suffix) }
        try DurableFile.replace(state + "/agent.sqlite", with: try bytes(state + "/old.sqlite"))
        return "rollback"
      case 14:
        chmod(blob, 0o666)
        return "writable by others"
      default:
        return "swap between verification and use"
      }
    }
  }

  @Test func aThousandMutationsReachNoEngine() async throws {
    let bench = try await Bench()
    let signed = bench.manifest.sha256.hex
    let state = bench.pristine.path + "/state"
    // Undamaged it runs, else all below would mean nothing.
    #expect(try await bench.ask(state))
    #expect(try bench.opened() == [signed])

    var refused: [String: Int] = [:]
    var ran: [String: Int] = [:]
    for number in 0..<Self.count {
      let copy = bench.pristine.path + "/copy"
      try FileManager.default.copyItem(atPath: state, toPath: copy)
      let what = try await bench.mutate(copy, number)
      let blob = "\(copy)/registry/blobs/sha256/\(signed)"
      let isSwap = what.hasPrefix("swap")
      let came = try await bench.ask(copy) {
        guard isSwap else { return }
        let foreign = ggufFile(seed: UInt64(number) + 7, weights: 40_000)
        switch number / 16 % 3 {
        case 0: try? DurableFile.replace(blob, with: foreign)
        case 1:
          try? DurableFile.replace(blob + ".x", with: foreign)
          unlink(blob)
          symlink(blob + ".x", blob)
        default:
          // In place: the kernel keeps whoever tries waiting, so that this one gives up at once.
          let descriptor = open(blob, O_WRONLY | O_NONBLOCK)
          if descriptor >= 0 {
            _ = foreign.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
            close(descriptor)
          }
        }
      }
      if came { ran[what, default: 0] += 1 } else { refused[what, default: 0] += 1 }
      try FileManager.default.removeItem(atPath: copy)
    }
    print("\(Self.count) mutations; refused \(refused.sorted { $0.key < $1.key }); ran on the signed file \(ran)")
    // What ran, ran on what was signed and nothing else; no changed byte was ever opened.
    #expect(Set(try bench.opened()) == [signed])
    for kind in ["tensor", "header", "cut", "another file", "symbolic link", "row", "writable by others"] {
      #expect(ran[kind] == nil, "\(kind)")
      #expect(refused[kind] ?? 0 > 0, "\(kind)")
    }
  }

  @Test(.enabled(if: RealEngine.isThere)) func theRealEngineGetsNoChangedFileEither() async throws {
    let program = try #require(RealEngine.program)
    let weights = try #require(RealEngine.weights)
    let scratch = try Scratch()
    let blob = scratch.path + "/blob"
    let digest = try FileDigest.of(weights)
    var configuration = AgentConfiguration.Engine()
    configuration.startSeconds = 60
    for round in 0..<4 {
      let bytes = try #require(try DurableFile.read(weights, limit: 1 << 30))
      try DurableFile.replace(blob, with: bytes)
      let service = InferenceService(
        launcher: EngineLauncher(
          program: program, configuration: configuration, socketDirectory: scratch.path + "/sockets",
          sandbox: await SandboxState.find(round % 2 == 0 ? .preferred : .off),
          isReady: { await EngineHealth.isReady($0) }),
        locate: { _, _ in
          let file = try VerifiedFile(blob, is: digest)
          if round < 2 { try DurableFile.replace(blob, with: Array("foreign".utf8)) }
          return EngineFiles(model: file)
        }, audit: { _, _, _ in })
      let model = EngineModel(name: "smol", version: "1", sha256: digest, length: 100, contextLength: 2048)
      if round >= 2 {
        var changed = bytes
        changed[bytes.count / 2] ^= 1
        try DurableFile.replace(blob, with: changed)
        await #expect(throws: StorageError.self) { try await service.acquire(model) }
      } else if let lease = try? await service.acquire(model) {
        // Bubblewrap refuses a name that leads elsewhere by now; without it the engine has the verified file itself.
        #expect(EngineHealth.status(lease.address) == 200)
        let maps = String(decoding: try DurableFile.read("/proc/\(lease.engine.process.pid)/maps") ?? [], as: UTF8.self)
        #expect(!maps.contains("/blob\n"), "it mapped the name that leads elsewhere")
      }
      await service.shutdown(drain: .zero)
    }
  }
}
