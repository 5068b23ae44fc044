import Glibc
import Host
import Trust

/// What the agent must know of an engine's program: how it is started on a model, when it is ready, how it is stopped,
/// and what it can do. Every engine speaks OpenAI's API once it is ready.
protocol EngineAdapter: Sendable {
  /// What the configuration and `skerry status` call it.
  var name: String { get }
  /// The program's absolute path.
  var program: String { get }
  var abilities: EngineAbilities { get }
  /// What it can listen on by itself.
  var listening: EngineListening { get }
  /// Answers 200 to a GET once the model is loaded, and nothing or 503 before.
  var readinessPath: String { get }
  /// Whether it ends by itself when its standard input does.
  var watchesInput: Bool { get }
  /// Whether it answers only who knows the secret that it was started with.
  var takesSecret: Bool { get }
  var confinement: EngineConfinement { get }
  /// The form of folder that it takes (`FolderFile`); nil: it takes a GGUF file.
  var form: String? { get }
  /// Signals and how long each has to work, after end-of-file on standard input was given; then it is killed.
  var stopSchedule: [(signal: Int32, wait: Duration)] { get }
  /// How a person gets the program where it is missing.
  var remedy: String { get }

  /// What requests to it call the model.
  func requestName(_ model: EngineModel) -> String

  /// The program's arguments and environment. Nothing of the agent's own environment reaches an engine.
  func command(_ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, at place: EnginePlace) -> EngineCommand
}

extension EngineAdapter {
  var form: String? { nil }
  func requestName(_ model: EngineModel) -> String { model.name }
}

/// What an engine needs of its sandbox beyond its model and the system's libraries.
struct EngineConfinement: Sendable, Hashable {
  var freedom: SeccompFilter.Freedom
  /// Files and folders that it reads, besides the folder of its program.
  var visible: [String] = []
}

/// What an engine listens on.
enum EngineListening: Sendable, Hashable {
  case unixSocket, loopbackPort
}

/// What an engine can do beyond answering chats.
struct EngineAbilities: OptionSet, Sendable, Hashable {
  let rawValue: Int

  static let embeddings = EngineAbilities(rawValue: 1 << 0)
  /// LoRA adapters that are loaded with the model and chosen by each request.
  static let adapters = EngineAbilities(rawValue: 1 << 1)
  static let ngramSpeculation = EngineAbilities(rawValue: 1 << 2)
  static let draftSpeculation = EngineAbilities(rawValue: 1 << 3)
}

/// Where an engine finds what it is given, as seen from inside its sandbox.
struct EnginePlace: Sendable, Hashable {
  /// The model's file or folder.
  let model: String
  /// LoRA adapters, in the order in which requests number them.
  var adapters: [String] = []
  /// The draft model of `EnginePlan.Speculation.draft`.
  var draft: String?
  /// What it has to listen on.
  let address: EngineAddress
}

/// An engine's command line and environment.
struct EngineCommand: Sendable, Hashable {
  var arguments: [String]
  var environment: [String: String]
}

/// The adapters that this box has, by name.
struct EngineAdapters: Sendable {
  private let adapters: [String: any EngineAdapter]

  init(_ adapters: [any EngineAdapter]) {
    self.adapters = Dictionary(adapters.map { ($0.name, $0) }) { _, later in later }
  }

  init(_ configuration: AgentConfiguration) {
    let described = EngineDescription.readyMade.merging(configuration.engines) { $1 }
    self.init(
      [LlamaServerAdapter(program: configuration.enginePath)]
        + described.map { DescribedAdapter(name: $0, description: $1) })
  }

  /// All of them, by name.
  var all: [any EngineAdapter] { adapters.values.sorted { $0.name < $1.name } }

  /// Each with its program, whether that is there, and how to get it when it is not.
  var facts: [JSONValue] {
    all.map { adapter in
      let isThere = access(adapter.program, X_OK) == 0
      return [
        "name": .string(adapter.name), "program": .string(adapter.program), "installed": .bool(isThere),
        "remedy": isThere ? .null : .string(adapter.remedy), "form": adapter.form.map(JSONValue.string) ?? .null,
      ]
    }
  }

  /// The engines that the configuration uses, by its own word or for a model's settings, and whose program is not there.
  func missing(for configuration: AgentConfiguration) -> [any EngineAdapter] {
    let wanted = Set(configuration.models.entries.values.compactMap(\.engine))
      .union(configuration.engines.keys).union([LlamaServerAdapter.name])
    return all.filter { wanted.contains($0.name) && access($0.program, X_OK) != 0 }
  }

  /// The adapter for a model: the one that its settings name, else for a folder one that takes its form and is there.
  func adapter(_ name: String, form: String?) throws(InferenceError) -> any EngineAdapter {
    let named = try named(name)
    guard let form, named.form != form, name == LlamaServerAdapter.name else { return named }
    let fitting = all.filter { $0.form == form }
    return fitting.first { access($0.program, X_OK) == 0 } ?? fitting.first ?? named
  }

  /// Throws `InferenceError.noAdapter` for a name that nothing describes.
  func named(_ name: String) throws(InferenceError) -> any EngineAdapter {
    guard let found = adapters[name] else { throw .noAdapter(name: name, known: adapters.keys.sorted()) }
    return found
  }
}
