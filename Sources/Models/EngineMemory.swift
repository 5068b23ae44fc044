/// What of an engine's settings costs memory.
public struct EngineLoad: Sendable, Hashable {
  /// Of each slot, in tokens; 0: what the model was trained for.
  public var contextTokens: Int
  /// Requests served at once.
  public var slots: Int
  /// Whether it turns texts into vectors: then every token of a batch has an output.
  public var isEmbedding = false
  /// Tokens that are computed in one go (llama-server's `--ubatch-size`).
  public var batch = 512
  /// Bytes of one number in the key and the value cache: 2 for 16-bit floats, 34/32 for q8_0.
  public var keyBytes = 2.0
  public var valueBytes = 2.0
  /// Copies of a slot's sliding windows that are kept to step back to, at most (`--ctx-checkpoints`).
  public var checkpoints = 4
  /// The most that remembered prompts may take, in bytes.
  public var promptCacheBytes: UInt64 = 0
  /// ggml's numbers of the types whose matrices the engine copies into an order that suits the processor.
  public var repacked: Set<UInt32> = []

  public init(contextTokens: Int, slots: Int) {
    self.contextTokens = contextTokens
    self.slots = slots
  }
}

/// What an engine takes to serve a model, by its parts, in bytes. Found out for llama.cpp by its source and by
/// measuring; `docs/engine.md` tells how well it fits.
public struct EngineMemory: Sendable, Hashable {
  /// The model's file, which is mapped: the kernel may drop pages of it, and the engine gets slow then.
  public var weights: UInt64 = 0
  /// Copies of weights in another order.
  public var repacked: UInt64 = 0
  /// Keys and values of all slots.
  public var cache: UInt64 = 0
  /// Room for intermediate results, once a full batch was computed.
  public var compute: UInt64 = 0
  /// Probabilities of all outputs.
  public var outputs: UInt64 = 0
  /// Copies of sliding windows.
  public var checkpoints: UInt64 = 0
  /// The program, its heap and the vocabulary.
  public var overhead: UInt64 = 0
  /// The most that remembered prompts may take.
  public var promptCache: UInt64 = 0

  /// What it takes as soon as it is ready.
  public var ready: UInt64 { EngineMemory.sum(weights, repacked, cache, overhead) }
  /// What it takes once all slots have had a full context.
  public var full: UInt64 { EngineMemory.sum(ready, compute, outputs, checkpoints) }
  /// The most that it may take: what is set aside for it.
  public var most: UInt64 { EngineMemory.sum(full, promptCache) }

  public init() {}

  /// Two engines' worth: a model's and its draft model's, in one process.
  public func adding(_ other: EngineMemory) -> EngineMemory {
    var sum = self
    for part in EngineMemory.parts {
      sum[keyPath: part] = EngineMemory.sum(self[keyPath: part], other[keyPath: part])
    }
    return sum
  }

  /// Without what one process has but once.
  var besideAnother: EngineMemory {
    var less = self
    less.overhead -= min(less.overhead, UInt64(EngineMemory.program))
    return less
  }

  private static var parts: [WritableKeyPath<EngineMemory, UInt64>] {
    [\.weights, \.repacked, \.cache, \.compute, \.outputs, \.checkpoints, \.overhead, \.promptCache]
  }

  fileprivate static func sum(_ values: UInt64...) -> UInt64 {
    values.reduce(0) { sum, value in
      let (total, overflow) = sum.addingReportingOverflow(value)
      return overflow ? .max : total
    }
  }
}

extension EngineMemory {
  /// The program's own pages and what it allocates before any model.
  static let program = 20.2 * 1024 * 1024
  /// A word of the vocabulary: its text, its score and its places in two indexes.
  static let word = 178.0

  /// The estimate for a model by its header. A file says what it likes: absurd numbers give an absurd estimate, and never
  /// a trap.
  public init(_ header: GGUFHeader, _ load: EngineLoad) {
    let shape = AttentionShape(header)
    let slots = Double(max(load.slots, 1))
    let batch = Double(max(load.batch, 1))
    let wanted = load.contextTokens > 0 ? Double(load.contextTokens) : Double(max(header.contextLength, 512))
    let cells = EngineMemory.padded(wanted)
    let windowCells = shape.window.map { EngineMemory.padded(min(cells, $0 + batch)) } ?? 0
    let vocabulary = EngineMemory.vocabulary(header)

    weights = EngineMemory.bytes(Double(header.dataEnd))
    repacked = EngineMemory.bytes(
      header.blockMatrixBytes.reduce(0.0) { load.repacked.contains($1.key) ? $0 + Double($1.value) : $0 })
    let perFull = shape.bytesPerCell(isWindow: false, load)
    let perWindow = shape.bytesPerCell(isWindow: true, load)
    cache = EngineMemory.bytes(slots * (cells * perFull + windowCells * perWindow))

    // The widest moment of a block: three rows as wide as the feed-forward network and four as the model.
    let block = batch * 4 * (3 * shape.feedForward + 4 * shape.embedding)
    let masks = batch * 2 * (cells + windowCells)
    let outputRows = load.isEmbedding ? batch : slots
    let head = outputRows * 4 * (vocabulary + 2 * shape.embedding)
    compute = EngineMemory.bytes(max(block, head) + masks)
    outputs = EngineMemory.bytes(outputRows * 4 * (vocabulary + (load.isEmbedding ? shape.embedding : 0)))
    if !load.isEmbedding {
      checkpoints = EngineMemory.bytes(slots * Double(load.checkpoints) * min(shape.window ?? 0, cells) * perWindow)
      promptCache = load.promptCacheBytes
    }
    overhead = EngineMemory.bytes(EngineMemory.program + vocabulary * EngineMemory.word)
  }

  /// Where the header is not known: what the file's size lets expect.
  public init(fileLength: UInt64) {
    weights = fileLength
    cache = fileLength / 4
    overhead = 256 << 20
  }

  static func vocabulary(_ header: GGUFHeader) -> Double {
    if case .array(_, let count)? = header.metadata["tokenizer.ggml.tokens"] { return Double(count) }
    return Double(header.number("vocab_size") ?? 0)
  }

  /// llama.cpp rounds the cells of a cache up to whole 256.
  private static func padded(_ cells: Double) -> Double { (cells / 256).rounded(.up) * 256 }

  private static func bytes(_ value: Double) -> UInt64 {
    value.isFinite && value > 0 ? (value < 9e18 ? UInt64(value) : .max) : 0
  }
}

/// How an architecture's layers attend, as far as it costs memory.
struct AttentionShape {
  var layers: Int
  var embedding: Double
  var feedForward: Double
  /// Key-value heads of each layer.
  var heads: [Double]
  var keyLength: Double
  var valueLength: Double
  /// The sliding window in tokens; nil where every layer sees everything.
  var window: Double?
  /// Which layers have the window.
  var isWindowed: [Bool]

  /// Every so many layers one sees everything, where the file doesn't say (`load_swa_pattern` in llama.cpp's models).
  private static let periods = [
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gemma-embedding": 6, "cohere2": 4, "exaone4": 4, "olmo2": 4,
    "gpt-oss": 2, "plamo3": 8, "afmoe": 4,
  ]

  init(_ header: GGUFHeader) {
    let most = Int(GGUFHeader.Limit.keptElements)
    layers = min(Int(clamping: header.number("block_count") ?? 32), most)
    embedding = Double(header.number("embedding_length") ?? 4096)
    let headCount = Double(
      max(header.number("attention.head_count") ?? header.numbers("attention.head_count")?.max() ?? 32, 1))
    let experts = Double(header.number("expert_used_count") ?? 0)
    let wide = header.number("feed_forward_length") ?? header.numbers("feed_forward_length")?.max()
    feedForward = max(
      Double(wide ?? 0), experts * Double(header.number("expert_feed_forward_length") ?? 0))
    let listed = header.numbers("attention.head_count_kv")
    let single = Double(header.number("attention.head_count_kv") ?? UInt64(headCount))
    heads = (0..<layers).map { layer in
      guard let listed else { return single }
      return layer < listed.count ? Double(listed[layer]) : headCount
    }
    keyLength = header.number("attention.key_length").map { Double($0) } ?? embedding / headCount
    valueLength = header.number("attention.value_length").map { Double($0) } ?? embedding / headCount
    isWindowed = Array(repeating: false, count: layers)
    let period = header.number("attention.sliding_window_pattern").map { Int(clamping: $0) }
    let pattern = header.numbers("attention.sliding_window_pattern")
    let known = period ?? AttentionShape.periods[header.architecture]
    // An architecture that is not known to use its window, such as phi3, gets whole caches.
    guard let size = header.number("attention.sliding_window"), size > 0, pattern != nil || known != nil else { return }
    window = Double(size)
    isWindowed = (0..<layers).map { layer in
      if let pattern { return layer < pattern.count && pattern[layer] != 0 }
      guard let known, known > 1 else { return false }
      return layer % known < known - 1
    }
  }

  /// Bytes that one token's keys and values take in all layers of a kind.
  func bytesPerCell(isWindow: Bool, _ load: EngineLoad) -> Double {
    zip(heads, isWindowed).reduce(0) { sum, layer in
      layer.1 == isWindow
        ? sum + layer.0 * (keyLength * load.keyBytes + valueLength * load.valueBytes) : sum
    }
  }
}

extension GGUFHeader {
  /// Whether a model with this header may draft for the other: llama-server takes one whose vocabulary is a little larger
  /// or smaller, and ends itself at the first word that only one of them has.
  public func sharesVocabulary(with other: GGUFHeader) -> Bool {
    let keys = ["model", "tokens", "bos_token_id", "eos_token_id"].map { "tokenizer.ggml." + $0 }
    return metadata["tokenizer.ggml.tokens"] != nil && keys.allSatisfy { metadata[$0] == other.metadata[$0] }
  }
}
