import CommandLine
import Trust

private let modelArgument = ArgumentSpec("MODEL", "the model's name", completion: .names("models"))

let modelNoun = Noun(
  CommandSpec(
    "model", "show and handle the models on this box",
    subcommands: [
      CommandSpec("list", "list the models"),
      CommandSpec("show", "show one model: digest, signers, size, state", arguments: [modelArgument]),
      CommandSpec(
        "verify", "compare weights with their signed digest, or files with a signature",
        discussion: """
          Ends with status 65 when they don't match. Without --signature the agent reads a model that is installed, \
          which is then out of use until a sync mends it.

          With --signature no agent is asked: the files at PATH, a folder or one file, are compared with a signature by \
          OpenSSF Model Signing 1.0. --public-key says whose it must be; or --certificate-chain names the roots that \
          its certificate must lead to. Altered, missing and unsigned files and symbolic links are refused.
          """,
        arguments: [
          ArgumentSpec("MODEL|PATH", "the model's name, or with --signature its files", completion: .names("models"))
        ], options: ModelVerifyFiles.options,
        examples: [
          Example("skerry model verify smollm2", "asks the agent to read its file again"),
          Example(
            "skerry model verify smollm2 --signature smollm2.sig --public-key acme.pub.pem",
            "verifies the files in the folder smollm2"),
        ]),
      ModelSign.spec,
      CommandSpec(
        "plan", "show what a model's engine is started with, what memory it takes, and why",
        discussion: """
          Threads, context, slots and remembered prompts are chosen to fit the box unless agent.json5 says otherwise \
          (engine, models). The estimate counts what the engine may take at most; it is set aside before it is started, \
          within engine.memoryMiB.
          """,
        arguments: [ArgumentSpec("MODEL", "the model's name; without it all", .optional, completion: .names("models"))]),
      CommandSpec("load", "start a model's engine before anybody asks", arguments: [modelArgument]),
      CommandSpec("unload", "stop a model's engine; the next question starts it again", arguments: [modelArgument]),
    ] + StoreCommands.specs),
  [
    "list": modelList, "show": modelShow, "verify": modelVerify, "sign": ModelSign.run, "plan": modelPlan,
    "load": modelLoad,
    "unload": modelUnload, "pin": StoreCommands.pin, "unpin": StoreCommands.unpin, "gc": StoreCommands.collect,
    "scrub": StoreCommands.scrub,
  ])

private let modelList: Runner = { invocation in
  let answer = try await invocation.agent.json("GET", "/skerry/v1/models")
  invocation.answer(answer) {
    let models = answer.list("models")
    guard !models.isEmpty else { return "no models here yet; skerry sync fetches those of the hub\n" }
    var table = Table("name", "version", "kind", "state", "size", "architecture", "signers", right: ["size"])
    for model in models {
      let size = modelSize(model)
      table.add(
        model.text("name"), model.text("version"), StoreCommands.kind(model, models), stateText(model), size,
        model.text("architecture"),
        "\(model.strings("signers").count)" + (publisherSigner(model).map { ", \($0)" } ?? ""))
    }
    return table.render()
  }
}

private let modelShow: Runner = { invocation in
  let model = try await invocation.agent.json("GET", path("/skerry/v1/models", invocation.argument("MODEL")))
  invocation.answer(model) { modelText(model) }
}

func modelText(_ model: JSONValue) -> String {
  facts([
    ("name", model.text("name")), ("version", model.text("version")), ("state", stateText(model)),
    ("problem", model["problem"]?.string), ("kind", model["kind"]?.string), ("base", model["base"]?.string),
    ("pinned", model["pinned"]?.bool.map { $0 ? "yes" : "no" }), ("size", modelSize(model)),
    ("architecture", model["architecture"]?.string),
    ("context", model["contextLength"]?.integer.map { "\($0) tokens" }),
    ("license", model["license"]?.string), ("publisher", model["publisher"]?.string),
    ("sha256", model["sha256"]?.string),
    ("signed by", model.strings("signers").joined(separator: "\n")), ("its publisher", publisherSigner(model)),
    ("installed", model["installedAt"]?.integer.map(timestamp)),
    ("last asked", model["lastUse"]?.integer.map(timestamp)),
  ])
}

private func stateText(_ model: JSONValue) -> String {
  switch model.text("freshness") {
  case "stale": model.text("state") + ", stale"
  case "refused": model.text("state") + ", stale: no longer answers"
  default: model.text("state")
  }
}

/// Whose own signature the model bears.
private func publisherSigner(_ model: JSONValue) -> String? { model["publisherSignature"]?["signer"]?.string }

private func modelSize(_ model: JSONValue) -> String {
  (model["length"]?.integer).map { Readable.bytes(UInt64(max(0, $0))) } ?? ""
}

private let modelVerify: Runner = { invocation in
  if let signature = invocation.command.option("signature") {
    return try await ModelVerifyFiles.run(invocation, signature: signature)
  }
  let name = invocation.argument("MODEL|PATH")
  let answer = try await act("verify", name, invocation)
  let isIntact = answer["ok"]?.bool ?? answer["verified"]?.bool ?? (answer.text("state") != "corrupt")
  invocation.answer(answer) { isIntact ? "\(name): the weights match their signed digest\n" : "" }
  guard isIntact else {
    throw CommandFailure(
      "\(name): the weights do NOT match their signed digest", hint: "skerry sync fetches the damaged part again",
      status: .data)
  }
}

private let modelPlan: Runner = { invocation in
  let name = invocation.command.optionalArgument("MODEL")
  let answer = try await invocation.agent.json("GET", name.map { path("/skerry/v1/plan", $0) } ?? "/skerry/v1/plan")
  invocation.answer(answer) { planText(answer, isDetailed: name != nil) }
}

func planText(_ answer: JSONValue, isDetailed: Bool) -> String {
  func size(_ value: JSONValue?) -> String { Readable.bytes(UInt64(max(0, value?.integer ?? 0))) }
  let box = answer["box"] ?? .null
  var text = facts([
    ("cores", box.text("cores")),
    ("for engines", "\(size(box["budgetBytes"])), of which \(size(box["setAsideBytes"])) are set aside now"),
  ])
  let models = answer.list("models")
  guard !models.isEmpty else { return text + "no models here yet; skerry sync fetches those of the hub\n" }
  var table = Table(
    "model", "context", "slots", "threads", "weights", "cache", "other", "prompts", "at most", "fits",
    right: ["context", "slots", "threads", "weights", "cache", "other", "prompts", "at most"])
  for model in models {
    let memory = model["memory"] ?? .null
    let other = ["repacked", "compute", "outputs", "checkpoints", "overhead"].reduce(Int64(0)) {
      $0 + (memory[$1]?.integer ?? 0)
    }
    table.add(
      "\(model.text("name")):\(model.text("version"))", model.text("contextTokens"), model.text("slots"),
      model.text("threads"), size(memory["weights"]), size(memory["cache"]), size(.integer(other)),
      size(memory["promptCache"]), size(memory["most"]), model["fits"]?.bool == true ? "yes" : "NO")
  }
  text += "\n" + table.render()
  if isDetailed, let model = models.first {
    text += "\n" + model.strings("reasons").map { $0 + "\n" }.joined()
  }
  return text
}

private let modelLoad: Runner = { invocation in
  let answer = try await act("load", invocation.argument("MODEL"), invocation)
  invocation.answer(answer) { "\(invocation.argument("MODEL")) is loaded\n" }
}

private let modelUnload: Runner = { invocation in
  let answer = try await act("unload", invocation.argument("MODEL"), invocation)
  invocation.answer(answer) { "\(invocation.argument("MODEL")) is unloaded\n" }
}

/// Loading and hashing a model may take minutes on a small box.
private func act(_ verb: String, _ model: String, _ invocation: Invocation) async throws -> JSONValue {
  try await invocation.agent.json(
    "POST", path("/skerry/v1/models", model) + "/\(verb)", body: .object([:]), timeout: .seconds(900))
}
