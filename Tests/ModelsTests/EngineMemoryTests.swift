import Models
import Testing

/// The numbers beside each expectation were read from llama-server's own log (`-lv 4`) and from /proc/PID/smaps_rollup.
@Suite struct EngineMemoryTests {
  private let mib = 1.0 / 1_048_576

  private func number(_ value: Int) -> [UInt8] { [4, 0, 0, 0] + le(UInt32(value)) }

  private func header(
    _ architecture: String, _ numbers: [String: Int], vocabulary: Int = 0, more: [(String, [UInt8])] = []
  )
    throws -> GGUFHeader
  {
    var builder = GGUFBuilder()
    builder.metadata = [("general.architecture", text(architecture))]
    builder.metadata += numbers.map { ("\(architecture).\($0.key)", number($0.value)) }
    // Truth values stand in for words: only their number counts.
    builder.metadata.append(
      (
        "tokenizer.ggml.tokens",
        [9, 0, 0, 0, 7, 0, 0, 0] + le(UInt64(vocabulary)) + Array(repeating: 0, count: vocabulary)
      ))
    builder.metadata += more.map { (key: $0.0, value: $0.1) }
    return try GGUFHeader.parse(bytes: builder.bytes)
  }

  private func smol() throws -> GGUFHeader {
    try header(
      "llama",
      [
        "block_count": 30, "embedding_length": 576, "feed_forward_length": 1536, "attention.head_count": 9,
        "attention.head_count_kv": 3, "context_length": 8192,
      ], vocabulary: 49_152)
  }

  private func gemma() throws -> GGUFHeader {
    try header(
      "gemma3",
      [
        "block_count": 18, "embedding_length": 640, "feed_forward_length": 2048, "attention.head_count": 4,
        "attention.head_count_kv": 1, "attention.key_length": 256, "attention.value_length": 256,
        "attention.sliding_window": 512, "context_length": 32768,
      ], vocabulary: 262_144)
  }

  @Test(arguments: [
    (512, 1, 11.25, 14.01), (512, 4, 45, 14.01), (2048, 2, 90, 15.51), (4096, 2, 180, 17.51), (8192, 1, 180, 21.51),
    (1024, 16, 360, 14.51),
  ])
  func cacheAndComputeOfSmolLM2(context: Int, slots: Int, cache: Double, compute: Double) throws {
    let memory = EngineMemory(try smol(), EngineLoad(contextTokens: context, slots: slots))
    #expect(Double(memory.cache) * mib == cache)
    #expect(abs(Double(memory.compute) * mib - compute) < 0.05)
    #expect(memory.checkpoints == 0)
  }

  @Test(arguments: [(2048, 2, 42.0, 20.77), (2048, 4, 84, 20.77), (16384, 1, 63, 34.77)])
  func slidingWindowsOfGemmaCostTheirWindowAlone(context: Int, slots: Int, cache: Double, compute: Double) throws {
    let memory = EngineMemory(try gemma(), EngineLoad(contextTokens: context, slots: slots))
    #expect(Double(memory.cache) * mib == cache)
    #expect(abs(Double(memory.compute) * mib - compute) < 1)
    // One copy of a slot's windows takes 7.5 MiB.
    #expect(Double(memory.checkpoints) * mib == 7.5 * 4 * Double(slots))
  }

  @Test func embeddingsHaveAnOutputForEveryToken() throws {
    var load = EngineLoad(contextTokens: 2048, slots: 2)
    load.isEmbedding = true
    let small = EngineMemory(try smol(), load)
    #expect(abs(Double(small.compute) * mib - 100.27) < 0.5)
    let large = EngineMemory(try gemma(), load)
    #expect(abs(Double(large.compute) * mib - 516.28) < 2)
    // Ready, 1119 MiB of its own were measured after a full batch, weights apart.
    #expect(abs(Double(large.full - large.weights) * mib - 1119) < 1119 * 0.05)
  }

  @Test func cachesOfFewerBitsCostLess() throws {
    var load = EngineLoad(contextTokens: 2048, slots: 2)
    load.keyBytes = 34.0 / 32
    load.valueBytes = 34.0 / 32
    #expect(Double(EngineMemory(try smol(), load).cache) * mib == 90 * 34.0 / 64)
  }

  @Test func patternsAndHeadsOfEachLayerAreRead() throws {
    func array(_ type: UInt32, _ bytes: [UInt8], _ count: Int) -> [UInt8] {
      [9, 0, 0, 0] + le(type) + le(UInt64(count)) + bytes
    }
    let header = try header(
      "novel",
      [
        "block_count": 3, "embedding_length": 64, "attention.head_count": 4, "attention.key_length": 8,
        "attention.value_length": 8, "attention.sliding_window": 100,
      ],
      more: [
        ("novel.attention.head_count_kv", array(5, le(Int32(1)) + le(Int32(2)) + le(Int32(4)), 3)),
        ("novel.attention.sliding_window_pattern", array(7, [1, 1, 0], 3)),
      ])
    #expect(header.numbers("attention.head_count_kv") == [1, 2, 4])
    let memory = EngineMemory(header, EngineLoad(contextTokens: 4096, slots: 1))
    // The last layer sees 4096 cells with 4 heads, the others 100 + 512, rounded up to 768, with 3 heads together.
    #expect(memory.cache == 4096 * 4 * 16 * 2 + 768 * 3 * 16 * 2)
  }

  @Test func aWindowThatTheEngineDoesNotUseIsNotSubtracted() throws {
    let header = try header(
      "phi3",
      [
        "block_count": 2, "embedding_length": 64, "attention.head_count": 4, "attention.sliding_window": 100,
      ])
    let memory = EngineMemory(header, EngineLoad(contextTokens: 1024, slots: 1))
    #expect(memory.cache == 2 * 1024 * 4 * 32 * 2)
  }

  @Test func absurdHeadersGiveAbsurdEstimatesAndNoTrap() throws {
    let numbers = [
      "block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.key_length",
    ]
    for value in [0, 1, Int(UInt32.max)] {
      let header = try header("llama", Dictionary(uniqueKeysWithValues: numbers.map { ($0, value) }))
      let memory = EngineMemory(header, EngineLoad(contextTokens: 1 << 20, slots: 64))
      #expect(memory.most >= memory.full && memory.full >= memory.ready)
    }
    // Nothing is said at all.
    let silent = EngineMemory(try header("", [:]), EngineLoad(contextTokens: 0, slots: 1))
    #expect(silent.ready > 0)
  }

  // MARK: settings that fit the box

  @Test func aRoomyBoxGetsTheUsual() throws {
    let sizing = EngineSizing(try smol(), wishes: EngineWishes(), box: EngineBox(cores: 8, budget: 8 << 30))
    #expect(sizing.contextTokens == 4096 && sizing.slots == 4 && sizing.threads == 8 && sizing.promptCacheMiB == 256)
    #expect(sizing.memory.most < 8 << 30)
    #expect(sizing.reasons.count == 4)
  }

  @Test func aTightBoxGivesUpRememberedPromptsThenSlotsThenContext() throws {
    var last = (context: 4096, slots: 2, cache: 256)
    for budget in stride(from: UInt64(600), through: 60, by: -20) {
      let sizing = EngineSizing(
        try smol(), wishes: EngineWishes(), box: EngineBox(cores: 2, budget: budget << 20))
      #expect(sizing.contextTokens <= last.context && sizing.slots <= last.slots && sizing.promptCacheMiB <= last.cache)
      if sizing.slots < 2 { #expect(sizing.promptCacheMiB == 0) }
      if sizing.contextTokens < 4096 { #expect(sizing.slots == 1) }
      if sizing.contextTokens > EngineSizing.leastContext { #expect(sizing.memory.most <= budget << 20) }
      last = (sizing.contextTokens, sizing.slots, sizing.promptCacheMiB)
    }
    #expect(last == (1024, 1, 0))
  }

  @Test func whatWasConfiguredStays() throws {
    var wishes = EngineWishes()
    (wishes.contextTokens, wishes.slots, wishes.threads, wishes.promptCacheMiB) = (8192, 4, 3, 512)
    let sizing = EngineSizing(try smol(), wishes: wishes, box: EngineBox(cores: 2, budget: 100 << 20))
    #expect(sizing.contextTokens == 8192 && sizing.slots == 4 && sizing.threads == 3 && sizing.promptCacheMiB == 512)
    #expect(sizing.memory.most > 100 << 20)
    #expect(sizing.reasons.allSatisfy { $0.contains("as configured") })
  }
}
