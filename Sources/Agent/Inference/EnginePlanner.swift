import Host
import Models
import Storage
import Trust

/// Makes plans for engines, from the configuration, the model's header and what the box has.
struct EnginePlanner: Sendable {
  let configuration: AgentConfiguration.Engine
  let models: ModelSettingsTable
  let box: EngineBox

  /// What else an engine is given, as far as it costs memory.
  struct Beside: Sendable {
    /// The draft model's file and its header.
    var draft: (sha256: Digest, header: GGUFHeader)?
    /// Bytes of all LoRA adapters.
    var adapters: UInt64 = 0
    /// Why there is no draft model although one is configured.
    var draftProblem: String?
  }

  func settings(for name: String) -> ModelSettings { models.settings(for: name) }

  /// How long an engine of the model stays without a request; nil: for ever.
  func keepAlive(for name: String) -> Duration? {
    let seconds = settings(for: name).keepAliveSeconds ?? configuration.idleSeconds
    return seconds > 0 ? .seconds(seconds) : nil
  }

  /// The minute of the day at which the model's engine is started anew; nil: never.
  func reloadMinute(for name: String) -> Int? { settings(for: name).reloadMinute ?? configuration.reloadMinute }

  /// Slots where nothing but the name is known: memory may allow fewer.
  func usualSlots(for name: String) -> Int {
    settings(for: name).slots ?? configuration.slots ?? EngineSizing.usualSlots(cores: box.cores)
  }

  /// The plan for a model's engine. Without a header (a file that is no GGUF, which its engine will refuse) it rests on
  /// the file's length.
  func plan(
    _ model: EngineModel, _ kind: EngineKind, header: GGUFHeader?, beside: Beside = Beside()
  ) -> EnginePlan {
    let settings = settings(for: model.name)
    var arguments = configuration.arguments
    if let own = settings.arguments { arguments = own }
    var wishes = EngineWishes()
    wishes.contextTokens =
      settings.contextTokens ?? (configuration.contextTokens > 0 ? configuration.contextTokens : nil)
    wishes.slots = settings.slots ?? configuration.slots
    wishes.threads = settings.threads ?? (configuration.threads > 0 ? configuration.threads : nil)
    wishes.promptCacheMiB = settings.promptCacheMiB ?? configuration.promptCacheMiB
    // What llama-server remembers of prompts does not tell which adapters it was computed with.
    if beside.adapters > 0, kind == .generate { wishes.promptCacheMiB = 0 }
    wishes.batch = kind == .embed ? 512 : EnginePlan.usualBatch
    wishes.isEmbedding = kind == .embed
    (wishes.keyBytes, wishes.valueBytes) = EnginePlanner.cacheTypes(arguments)
    wishes.keepsOrder = arguments.contains("--no-repack") || arguments.contains("-nr")
    var extra = EngineMemory()
    extra.weights = beside.adapters
    wishes.beside = kind == .generate ? extra : nil
    var beside = beside
    if let draft = beside.draft, let header, !header.sharesVocabulary(with: draft.header) {
      (beside.draft, beside.draftProblem) = (nil, "it has another vocabulary")
    }
    wishes.draft = kind == .generate ? beside.draft?.header : nil

    let sizing = header.map { EngineSizing($0, wishes: wishes, box: box) }
    var plan = EnginePlan(
      contextTokens: sizing?.contextTokens ?? wishes.contextTokens ?? EngineSizing.usualContext,
      slots: sizing?.slots ?? wishes.slots ?? 2, threads: sizing?.threads ?? wishes.threads ?? box.cores,
      promptCacheMiB: sizing?.promptCacheMiB ?? wishes.promptCacheMiB ?? 0)
    plan.arguments = arguments
    plan.batchTokens = wishes.batch
    plan.memory = sizing?.memory ?? EngineMemory(fileLength: model.length)
    plan.reasons = sizing?.reasons ?? ["the file has no header that can be read: the plan rests on its length"]
    if beside.adapters > 0, kind == .generate {
      plan.reasons.append("no remembered prompts: LoRA adapters are loaded, and they change what was computed")
    }
    if let engine = settings.engine { plan.adapter = engine }
    guard kind == .generate else { return plan }
    switch settings.speculative {
    case nil, .some(.none): break
    case .ngram:
      plan.speculation = .ngram
      plan.reasons.append("speculation: by n-grams, as configured")
    case .draft(let name):
      if let draft = beside.draft {
        plan.speculation = .draft(draft.sha256)
        plan.reasons.append("speculation: by the draft model \(name), as configured")
      } else {
        plan.reasons.append(
          "speculation: none, the draft model \(name) can't be used: \(beside.draftProblem ?? "it is not here")")
      }
    }
    return plan
  }

  /// Bytes of one number in the key and the value cache, as further arguments choose them.
  static func cacheTypes(_ arguments: [String]) -> (key: Double, value: Double) {
    let sizes = [
      "f32": 4.0, "f16": 2, "bf16": 2, "q8_0": 34.0 / 32, "q4_0": 18.0 / 32, "q4_1": 20.0 / 32, "iq4_nl": 18.0 / 32,
      "q5_0": 22.0 / 32, "q5_1": 24.0 / 32,
    ]
    func size(_ names: Set<String>) -> Double {
      guard let at = arguments.lastIndex(where: { names.contains($0) }), at + 1 < arguments.count else { return 2 }
      return sizes[arguments[at + 1].lowercased()] ?? 2
    }
    return (size(["-ctk", "--cache-type-k"]), size(["-ctv", "--cache-type-v"]))
  }
}

extension EngineBox {
  /// This host's, with the budget that the configuration gives.
  static func find(_ configuration: AgentConfiguration.Engine) -> EngineBox {
    let budget =
      configuration.memoryMiB > 0 ? UInt64(configuration.memoryMiB) << 20 : Memory.limit / 4 * 3
    return EngineBox(
      cores: Processors.cores, budget: budget, repacked: EngineBox.repackedTypes(Processors.features))
  }

  /// The types (ggml's numbers) whose matrices llama.cpp reorders on a processor with these features.
  static func repackedTypes(_ features: Set<String>) -> Set<UInt32> {
    var types: Set<UInt32> = []
    if features.contains("avx2") || features.contains("asimddp") { types.formUnion([2, 12, 20]) }
    if features.contains("avx512f") { types.insert(10) }
    if features.contains("i8mm") { types.formUnion([13, 14]) }
    return types
  }
}

extension GGUFHeader {
  /// The header of a file that is held open; nil when it is no GGUF file.
  static func read(_ file: VerifiedFile) -> GGUFHeader? { read("/proc/self/fd/\(file.descriptor)") }

  /// The header of a file; nil when it is no GGUF file or can't be read.
  static func read(_ path: String) -> GGUFHeader? {
    guard let file = try? BlobFile(path), let size = DurableFile.size(path) else { return nil }
    return try? parse(fileSize: size) { try file.read(at: $0, count: $1) }
  }
}
