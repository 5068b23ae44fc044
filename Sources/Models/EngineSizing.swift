/// What a box can give to engines.
public struct EngineBox: Sendable, Hashable {
  /// Cores that computing threads may keep busy.
  public var cores: Int
  /// The most that all engines together may take, in bytes.
  public var budget: UInt64
  /// See `EngineLoad.repacked`.
  public var repacked: Set<UInt32>

  public init(cores: Int, budget: UInt64, repacked: Set<UInt32> = []) {
    self.cores = cores
    self.budget = budget
    self.repacked = repacked
  }
}

/// What somebody wants of one engine; nil where the box decides.
public struct EngineWishes: Sendable {
  public var contextTokens: Int?
  public var slots: Int?
  public var threads: Int?
  public var promptCacheMiB: Int?
  public var isEmbedding = false
  /// Bytes of one number in the caches.
  public var keyBytes = 2.0
  public var valueBytes = 2.0
  /// Whether the engine is told not to reorder weights.
  public var keepsOrder = false
  /// Tokens of prompts that are computed in one go.
  public var batch = 512
  /// What the engine is given beside the model, such as adapters.
  public var beside: EngineMemory?
  /// The header of a draft model, which gets caches of its own for the same slots.
  public var draft: GGUFHeader?

  public init() {}
}

/// The settings of one engine that fit the box, and why they are so.
public struct EngineSizing: Sendable, Hashable {
  public var contextTokens: Int
  public var slots: Int
  public var threads: Int
  public var promptCacheMiB: Int
  public var memory: EngineMemory
  /// One sentence for each setting that was chosen or cut, in the order of the settings.
  public var reasons: [String]

  /// More context than this costs memory that small boxes don't have; who needs more says so.
  public static let usualContext = 4096
  /// Below this a chat is no use.
  public static let leastContext = 1024
  static let usualPromptCacheMiB = 256
  public static func usualSlots(cores: Int) -> Int { cores < 4 ? 2 : 4 }

  /// Chooses. What was wished stays as it was wished; of the rest, remembered prompts give way first, then slots, then
  /// context. The result may still be larger than the budget: whether it is admitted is another question.
  public init(_ header: GGUFHeader, wishes: EngineWishes, box: EngineBox) {
    let trained = Int(clamping: header.contextLength)
    let cores = max(box.cores, 1)
    var reasons: [String] = []

    threads = wishes.threads ?? cores
    reasons.append(
      wishes.threads != nil
        ? "threads \(threads): as configured" : "threads \(threads): one for each core that may be used")
    slots = wishes.slots ?? EngineSizing.usualSlots(cores: cores)
    let slotReason =
      wishes.slots != nil
      ? "as configured"
      : cores < 4 ? "two requests share an engine on fewer than 4 cores" : "four requests share an engine"
    let usual = trained > 0 ? min(trained, EngineSizing.usualContext) : EngineSizing.usualContext
    contextTokens = wishes.contextTokens ?? usual
    var contextReason = "as configured"
    if wishes.contextTokens == nil {
      contextReason =
        trained > 0 && trained <= EngineSizing.usualContext
        ? "what the model was trained for" : "the usual; the model was trained for \(trained > 0 ? "\(trained)" : "?")"
    } else if trained > 0, contextTokens > trained {
      contextReason = "as configured, beyond the \(trained) that the model was trained for"
    }
    promptCacheMiB = wishes.promptCacheMiB ?? EngineSizing.usualPromptCacheMiB
    var cacheReason = wishes.promptCacheMiB != nil ? "as configured" : "the usual"

    func estimate(_ sizing: EngineSizing) -> EngineMemory {
      var load = EngineLoad(contextTokens: sizing.contextTokens, slots: sizing.slots)
      load.isEmbedding = wishes.isEmbedding
      load.batch = wishes.batch
      load.keyBytes = wishes.keyBytes
      load.valueBytes = wishes.valueBytes
      load.promptCacheBytes = UInt64(max(sizing.promptCacheMiB, 0)) << 20
      load.repacked = wishes.keepsOrder ? [] : box.repacked
      var memory = EngineMemory(header, load)
      if let beside = wishes.beside { memory = memory.adding(beside) }
      if let draft = wishes.draft {
        load.promptCacheBytes = 0
        (load.keyBytes, load.valueBytes) = (2, 2)
        memory = memory.adding(EngineMemory(draft, load).besideAnother)
      }
      return memory
    }
    memory = EngineMemory()
    self.reasons = []
    memory = estimate(self)
    let cut = "cut to fit \(EngineSizing.mib(box.budget))"
    while memory.most > box.budget {
      if wishes.promptCacheMiB == nil, promptCacheMiB > 0 {
        promptCacheMiB = promptCacheMiB > 32 ? promptCacheMiB / 2 : 0
        cacheReason = cut
      } else if wishes.slots == nil, slots > 1 {
        slots /= 2
        reasons.append("slots: \(cut)")
      } else if wishes.contextTokens == nil, contextTokens > EngineSizing.leastContext {
        contextTokens = max(EngineSizing.leastContext, contextTokens / 2)
        contextReason = cut
      } else {
        break
      }
      memory = estimate(self)
    }
    let isCut = reasons.contains { $0.hasPrefix("slots: ") }
    reasons.removeAll { $0.hasPrefix("slots: ") }
    reasons += [
      "slots \(slots): \(isCut ? cut : slotReason)", "context \(contextTokens) tokens a slot: \(contextReason)",
      "remembered prompts \(promptCacheMiB) MiB: \(cacheReason)",
    ]
    self.reasons = reasons
  }

  static func mib(_ bytes: UInt64) -> String { "\((bytes + (1 << 19)) >> 20) MiB" }
}
