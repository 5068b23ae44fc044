import Glibc

/// llama.cpp's `llama-server`; facts and measurements are in docs/engine.md.
struct LlamaServerAdapter: EngineAdapter {
  static let name = "llama.cpp"

  let program: String

  var name: String { Self.name }
  let abilities: EngineAbilities = [.embeddings, .adapters, .ngramSpeculation, .draftSpeculation]
  let listening = EngineListening.unixSocket
  let readinessPath = "/health"
  /// It obeys end-of-file at once.
  let stopSchedule: [(signal: Int32, wait: Duration)] = [(0, .milliseconds(400)), (SIGTERM, .milliseconds(1200))]
  let watchesInput = true
  let takesSecret = true
  /// It needs neither processes nor files of its own. A program that is a script needs its interpreter, too.
  var confinement: EngineConfinement {
    EngineConfinement(freedom: [], visible: EngineProgram.isScript(program) ? ["/usr"] : [])
  }
  let remedy = "install llama-server there or set engine.path"

  func command(_ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, at place: EnginePlace) -> EngineCommand {
    var list = [
      "--model", place.model, "--alias", model.name, "--no-ui", "--sse-ping-interval", "1",
      "--parallel", String(plan.slots), "--ctx-size", String(plan.contextTokens * plan.slots),
      "--cache-ram", String(plan.promptCacheMiB), "--metrics", "--offline",
    ]
    // With the router's port set, the engine ends as soon as its standard input does: it can't outlive the agent.
    var environment = [
      "LLAMA_SERVER_ROUTER_PORT": "1", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8",
    ]
    switch place.address {
    case .unix(let path, _): list += ["--host", path]
    case .loopback(let port, let secret):
      list += ["--host", "127.0.0.1", "--port", String(port)]
      environment["LLAMA_API_KEY"] = secret
    }
    switch kind {
    case .generate:
      let batch = String(plan.batchTokens)
      list += ["--jinja", "--batch-size", batch, "--ubatch-size", batch, "--ctx-checkpoints", String(plan.checkpoints)]
    case .embed: list += ["--embeddings", "--pooling", "mean"]
    }
    // Each adapter starts with the scale 0: it changes nothing until it is asked for.
    if !place.adapters.isEmpty { list += ["--lora-scaled", place.adapters.map { $0 + ":0" }.joined(separator: ",")] }
    if plan.threads > 0 { list += ["--threads", String(plan.threads)] }
    switch plan.speculation {
    case .none: break
    case .ngram: list += ["--spec-type", "ngram-simple"]
    case .draft:
      if let draft = place.draft { list += ["--spec-type", "draft-simple", "--spec-draft-model", draft] }
    }
    return EngineCommand(arguments: list + plan.arguments, environment: environment)
  }
}
