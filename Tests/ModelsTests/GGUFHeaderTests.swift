import FoundationEssentials
import Glibc
import Models
import Testing

@Suite struct GGUFHeaderTests {
  private func error(_ change: (inout GGUFBuilder) -> Void) -> GGUFError? {
    var builder = GGUFBuilder()
    change(&builder)
    return error(bytes: builder.bytes)
  }

  private func error(bytes: [UInt8]) -> GGUFError? {
    do {
      _ = try GGUFHeader.parse(bytes: bytes)
      return nil
    } catch let error as GGUFError {
      return error
    } catch {
      Issue.record("not a GGUFError: \(error)")
      return nil
    }
  }

  @Test(arguments: [2, 3] as [UInt32]) func readsAHeader(version: UInt32) throws {
    var builder = GGUFBuilder()
    builder.version = version
    let bytes = builder.bytes
    let header = try GGUFHeader.parse(bytes: bytes)
    #expect(header.version == version)
    #expect(header.architecture == "llama")
    #expect(header.contextLength == 8192)
    #expect(header.metadata["tokenizer.ggml.tokens"] == .array(elementType: 8, count: 2))
    #expect(header.tensorCount == 2)
    #expect(header.parameterCount == 70)
    #expect(header.dataEnd == UInt64(bytes.count))
  }

  @Test func everyCutIsRefused() {
    let bytes = GGUFBuilder().bytes
    for length in 0..<bytes.count {
      switch error(bytes: Array(bytes.prefix(length))) {
      case .notGGUF: #expect(length < 4)
      case .truncated(let needed, let have):
        #expect(needed > have)
        #expect(have == UInt64(length))
      case let other: Issue.record("cut to \(length): \(String(describing: other))")
      }
    }
  }

  @Test func refusesWhatIsNoGGUF() {
    #expect(error { $0.magic = Array("GGML".utf8) } == .notGGUF)
    #expect(error(bytes: []) == .notGGUF)
    #expect(error { $0.version = 1 } == .unsupportedVersion(1))
    #expect(error { $0.version = 4 } == .unsupportedVersion(4))
    #expect(error { $0.version = UInt32(3).byteSwapped } == .unsupportedVersion(0x0300_0000))
  }

  @Test func refusesAbsurdCounts() {
    let changes: [(String, (inout GGUFBuilder) -> Void)] = [
      ("tensors", { $0.tensorCount = .max }),
      ("metadata", { $0.metadataCount = 1 << 40 }),
      ("array", { $0.metadata[2].value = [9, 0, 0, 0, 4, 0, 0, 0] + le(UInt64.max) }),
      ("string", { $0.metadata[0].value = [8, 0, 0, 0] + le(UInt64.max) }),
      ("dimensions", { $0.tensors[0].dimensions = [1, 1, 1, 1, 1] }),
      ("string in array", { $0.metadata[2].value = [9, 0, 0, 0, 8, 0, 0, 0] + le(UInt64(1)) + le(UInt64.max) }),
    ]
    for (name, change) in changes {
      guard case .absurd = error(change) else {
        Issue.record("\(name) was taken")
        continue
      }
    }
  }

  @Test func refusesMoreThanTheFileHolds() {
    let changes: [(String, (inout GGUFBuilder) -> Void)] = [
      ("metadata", { $0.metadata[0].value = [8, 0, 0, 0] + le(UInt64(100_000)) }),
      ("array", { $0.metadata[2].value = [9, 0, 0, 0, 12, 0, 0, 0] + le(UInt64(1 << 20)) }),
      ("tensor", { $0.tensors[1].dimensions = [96] }),
      ("data", { $0.data -= 1 }),
    ]
    for (name, change) in changes {
      guard case .truncated = error(change) else {
        Issue.record("\(name) was taken")
        continue
      }
    }
    // A tensor that is counted but not there is read from the padding, and cannot be right.
    #expect(error { $0.tensorCount = 3 } != nil)
  }

  @Test func refusesExtentsThatOverflow() {
    #expect(error { $0.tensors[0].dimensions = [1 << 40, 1 << 40] } == .overflow(what: "tensor's extent"))
    #expect(error { $0.tensors[0].dimensions = [.max] } == .overflow(what: "tensor's extent"))
    #expect(error { $0.tensors[0].dimensions = [1 << 62] } == .overflow(what: "tensor's extent"))
  }

  @Test func refusesTensorsOutOfPlace() {
    for offset: UInt64 in [0, 24, 33, 64, .max] {
      guard case .malformed = error({ $0.tensors[1].offset = offset }) else {
        Issue.record("offset \(offset)")
        continue
      }
    }
  }

  @Test func refusesWhatTheFormatForbids() {
    let changes: [(String, (inout GGUFBuilder) -> Void)] = [
      ("unknown value type", { $0.metadata[0].value = [13, 0, 0, 0, 0] }),
      ("unknown tensor type", { $0.tensors[0].type = 4 }),
      ("row no multiple of block", { $0.tensors[1].dimensions = [33] }),
      ("same key twice", { $0.metadata.append($0.metadata[0]) }),
      ("same tensor twice", { $0.tensors[1].name = "a" }),
      ("alignment 0", { $0.metadata.append(("general.alignment", [4, 0, 0, 0] + le(UInt32(0)))) }),
      ("alignment 48", { $0.metadata.append(("general.alignment", [4, 0, 0, 0] + le(UInt32(48)))) }),
      ("alignment as text", { $0.metadata.append(("general.alignment", text("32"))) }),
      ("truth value 2", { $0.metadata.append(("x", [7, 0, 0, 0, 2])) }),
      (
        "arrays without end",
        { $0.metadata.append(("x", [9, 0, 0, 0] + (0..<9).flatMap { _ in [9, 0, 0, 0] + le(UInt64(1)) })) }
      ),
    ]
    for (name, change) in changes {
      guard case .malformed = error(change) else {
        Issue.record("\(name) was taken")
        continue
      }
    }
  }

  @Test func flippedBytesNeverTrap() {
    let bytes = GGUFBuilder().bytes
    for at in bytes.indices {
      for value: UInt8 in [0, 0x7F, 0x80, 0xFF] {
        var changed = bytes
        changed[at] = value
        _ = try? GGUFHeader.parse(bytes: changed)
      }
    }
  }

  @Test func aReaderThatLiesIsRefused() {
    #expect(throws: GGUFError.self) {
      try GGUFHeader.parse(fileSize: 1 << 40) { _, _ in Array("GGUF".utf8) }
    }
  }

  @Test(.enabled(if: realModel() != nil)) func readsRealWeights() throws {
    let path = try #require(realModel())
    let file = open(path, O_RDONLY)
    try #require(file >= 0)
    defer { close(file) }
    let size = UInt64(lseek(file, 0, SEEK_END))
    func read(_ offset: UInt64, _ count: Int) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: count)
      let got = pread(file, &bytes, count, off_t(offset))
      return Array(bytes.prefix(max(got, 0)))
    }
    let header = try GGUFHeader.parse(fileSize: size, read: read)
    #expect(header.architecture == "llama")
    #expect(header.contextLength == 8192)
    #expect(header.parameterCount == 134_515_008)
    #expect(header.dataEnd == size)
    // 215 MiB were resident when it was ready, 234 after two full contexts.
    let estimate = EngineMemory(header, EngineLoad(contextTokens: 2048, slots: 2))
    #expect((183 << 20...247 << 20).contains(estimate.ready))
    #expect((199 << 20...269 << 20).contains(estimate.full))
    // Short by a single byte, it is refused.
    #expect(throws: GGUFError.truncated(needed: size, have: size - 1)) {
      try GGUFHeader.parse(fileSize: size - 1, read: read)
    }
  }
}

/// The weights that `make demo` keeps, when they are there.
private func realModel() -> String? {
  let environment = ProcessInfo.processInfo.environment
  let cache = environment["SKERRY_CACHE"] ?? (environment["HOME"] ?? "") + "/.cache/skerry"
  let weights = cache + "/weights"
  let folders = (try? FileManager.default.contentsOfDirectory(atPath: weights)) ?? []
  return folders.map { "\(weights)/\($0)/SmolLM2-135M-Instruct.Q4_1.gguf" }
    .first { FileManager.default.fileExists(atPath: $0) }
}
