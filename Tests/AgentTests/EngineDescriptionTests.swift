import Storage
import Testing
import Trust

@testable import Agent

@Suite struct EngineDescriptionTests {
  private func engines(_ text: String) throws -> [String: EngineDescription] {
    try AgentConfiguration(JSONField(try JSONValue(parsing: Array("{engines: \(text)}".utf8), json5: true))).engines
  }

  private let model = EngineModel(
    name: "smol", version: "1", sha256: Digest(of: [1]), length: 1, contextLength: 0)
  private let plan = EnginePlan(contextTokens: 512, slots: 3, threads: 2, promptCacheMiB: 0)

  @Test func aTemplateIsFilledInOnceAndAsItStands() {
    let values = ["model": "/models/{port}", "port": "80", "alias": "a b"]
    #expect(EngineDescription.fill("{model}", values) == "/models/{port}")
    #expect(EngineDescription.fill("x{alias}y{port}", values) == "xa by80")
    #expect(EngineDescription.fill("{nothing} {\"json\": 1} {", values) == "{nothing} {\"json\": 1} {")
  }

  @Test func anEngineOfOnesOwn() throws {
    let found = try engines(
      """
      {mine: {program: "/opt/mine", arguments: ["{model}", "--at={socket}", "-n", "{slots}", "-c", "{context}"],
              environment: {KEY: "{secret}"}, stop: [{signal: "INT", seconds: 3}], form: "mlx"}}
      """)
    let adapter = DescribedAdapter(name: "mine", description: try #require(found["mine"]))
    #expect(adapter.listening == .unixSocket && adapter.takesSecret && adapter.form == "mlx")
    #expect(adapter.stopSchedule.count == 1)
    let place = EnginePlace(model: "/m", address: .unix(path: "/run/s.sock", secret: "word"))
    let command = adapter.command(model, .generate, plan, at: place)
    #expect(command.arguments == ["/m", "--at=/run/s.sock", "-n", "3", "-c", "512"])
    #expect(command.environment["KEY"] == "word")
  }

  @Test func whatIsReadyMadeCanBeMoved() throws {
    let found = try engines("{vllm: {program: \"/srv/vllm\"}}")
    #expect(found["vllm"]?.program == "/srv/vllm")
    #expect(found["vllm"]?.arguments == EngineDescription.readyMade["vllm"]?.arguments)
    // And reads back as it is told.
    let effective = try #require(found["vllm"]?.effective)
    #expect(try EngineDescription("vllm", JSONField(effective)) == found["vllm"])
  }

  @Test func readyMadeOnesFillInEverything() {
    for (name, description) in EngineDescription.readyMade {
      let adapter = DescribedAdapter(name: name, description: description)
      let place = EnginePlace(model: "/m", address: .loopback(port: 8080, secret: "word"))
      let command = adapter.command(model, .generate, plan, at: place)
      let words = command.arguments + command.environment.values
      #expect(!words.contains { $0.contains("{") }, "\(name)")
      #expect(command.arguments.contains("8080") && command.arguments.contains("/m"), "\(name)")
      #expect(description.remedy.contains("pip install"), "\(name)")
    }
  }

  @Test(arguments: [
    "{x: {program: \"/x\"}}", "{x: {arguments: [\"{model}\", \"{port}\"]}}",
    "{x: {program: \"x\", arguments: [\"{model}\", \"{port}\"]}}",
    "{x: {program: \"/x\", arguments: [\"{port}\"]}}", "{x: {program: \"/x\", arguments: [\"{model}\"]}}",
    "{x: {program: \"/x\", arguments: [\"{model}\", \"{port}\", \"{nosuch}\"]}}",
    "{x: {program: \"/x\", arguments: [\"{model}\", \"{port}\"], stop: [{signal: \"KILL\", seconds: 1}]}}",
    "{x: {program: \"/x\", arguments: [\"{model}\", \"{port}\"], nosuch: 1}}", "{\"llama.cpp\": {program: \"/x\"}}",
    "[]",
  ]) func whatCannotBeRightIsRefused(_ text: String) {
    #expect(throws: JSONFieldError.self) { try engines(text) }
  }

  /// An engine on a port that asks for no secret would answer everybody on the host.
  @Test func withoutASecretItWantsASandbox() async throws {
    let scratch = try Scratch()
    var description = EngineDescription()
    description.program = "/bin/true"
    description.arguments = ["{model}", "{port}"]
    let launcher = EngineLauncher(
      adapters: EngineAdapters([DescribedAdapter(name: "x", description: description)]),
      configuration: AgentConfiguration.Engine(), socketDirectory: scratch.path + "/engines",
      folderDirectory: scratch.path + "/folders", sandbox: SandboxState(mode: .off, isActive: false, reason: nil),
      isReady: { _, _ in true })
    var plan = plan
    plan.adapter = "x"
    try DurableFile.replace(scratch.path + "/m", with: [1])
    let files = EngineFiles(model: try VerifiedFile(scratch.path + "/m", is: FileDigest.of(scratch.path + "/m")))
    await #expect {
      _ = try await launcher.start(model, EngineKind.generate, plan, files: files)
    } throws: { "\($0)".contains("past the agent") }
  }
}
