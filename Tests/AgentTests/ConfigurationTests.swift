import Storage
import Testing
import Trust

@testable import Agent

@Suite struct ConfigurationTests {
  let scratch: Scratch
  init() throws { scratch = try Scratch() }

  private func load(_ text: String, _ overrides: [(key: String, value: String)] = []) throws -> AgentConfiguration {
    let file = scratch.path + "/agent.json5"
    try DurableFile.replace(file, with: Array(text.utf8))
    return try ConfigurationSource(file: file, overrides: overrides).load()
  }

  private func error(_ text: String, _ overrides: [(key: String, value: String)] = []) -> String {
    do {
      _ = try load(text, overrides)
      return "accepted"
    } catch { return "\(error)".replacing(scratch.path + "/", with: "") }
  }

  @Test func nothingMeansTheDefaults() throws {
    #expect(try load("{}") == AgentConfiguration())
  }

  @Test func theShippedFileSaysTheDefaults() throws {
    let folder = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let bytes = try #require(try DurableFile.read("/\(folder)/config/agent.json5"))
    let document = try JSONValue(parsing: bytes, json5: true)
    #expect(try AgentConfiguration(JSONField(document)) == AgentConfiguration())
    // Every key that there is stands in it.
    func keys(_ value: JSONValue, _ path: String = "") -> Set<String> {
      (value.object ?? [:]).reduce(into: []) { found, member in
        found.insert(path + member.key)
        found.formUnion(keys(member.value, path + member.key + "."))
      }
    }
    #expect(keys(document) == keys(AgentConfiguration().effective))
  }

  @Test func theEffectiveConfigurationReadsBackAsItself() throws {
    var configuration = try load("{name: 'box-7', listen: {tcp: null}, engine: {slots: 3, arguments: ['--x']}}")
    let again = try AgentConfiguration(JSONField(configuration.effective))
    configuration.listen.socket = configuration.socketPath
    configuration.engine.path = configuration.enginePath
    #expect(again == configuration)
  }

  @Test func theCommandLineIsStronger() throws {
    let made = try load(
      "{engine: {slots: 3, threads: 1}}",
      [("engine.slots", "5"), ("stateDirectory", "/srv/x"), ("listen.tcp", "null"), ("name", "plain-text")])
    #expect(made.engine.slots == 5)
    #expect(made.engine.threads == 1)
    #expect(made.stateDirectory == "/srv/x")
    #expect(made.listen.tcp == nil)
    #expect(made.name == "plain-text")
  }

  @Test(arguments: [
    (
      "{enigne: {}}",
      "agent.json5: enigne: unknown key; allowed: name, stateDirectory, runtimeDirectory, policyDirectory, listen, "
        + "engine, sync, store, log, limits, site, bundle, breakGlass, audit, models, engines, labels, identityProviders"
    ),
    (
      "{site: {listen: 7}}",
      "agent.json5: site.listen: wrong type, found a number; allowed: \"host:port\" with a port from 0 to 65535, or null"
    ),
    (
      "{site: {neighbours: [{name: 'a', key: 'ff'}]}}",
      "agent.json5: site.neighbours[0]: address is missing; allowed: name, address, key"
    ),
    (
      "{site: {neighbours: [{name: 'a', address: 'b:1', key: 'ff'}]}}",
      "agent.json5: site.neighbours[0].key: it is no Ed25519 public key; allowed: the 64 hexadecimal digits that `skerry site` prints on that box"
    ),
    (
      "{site: {neighbours: [{name: 'a', address: 'http://b', key: 'ff'}]}}",
      "agent.json5: site.neighbours[0].address: \"http://b\" is no address; allowed: \"host:port\" with a port from 1 to 65535"
    ),
    (
      "{site: {neighbour: []}}",
      "agent.json5: site.neighbour: unknown key; allowed: listen, neighbours, bytesPerSecond, maxConnections, maxInFlight"
    ),
    ("{engine: {slots: 0}}", "agent.json5: engine.slots: 0 is out of range; allowed: a whole number from 1 to 64"),
    (
      "{engine: {slots: 'two'}}",
      "agent.json5: engine.slots: wrong type, found a string; allowed: a whole number from 1 to 64"
    ),
    (
      "{engine: {slots: 1.5}}",
      "agent.json5: engine.slots: wrong type, found a number; allowed: a whole number from 1 to 64"
    ),
    (
      "{engine: {sandbox: 'on'}}",
      "agent.json5: engine.sandbox: unknown value \"on\"; allowed: required, preferred, off"
    ),
    ("{engine: []}", "agent.json5: engine: wrong type, found an array; allowed: an object"),
    (
      "{stateDirectory: 'state'}",
      "agent.json5: stateDirectory: \"state\" is no such path; allowed: an absolute path of at most 4000 bytes"
    ),
    (
      "{listen: {tcp: '0.0.0.0:1'}}",
      "agent.json5: listen.tcp: \"0.0.0.0:1\" is reached from other machines; allowed: 127.0.0.1 or [::1], or "
        + "beyondLoopback: true beside it"
    ),
    (
      "{listen: {tcp: '127.0.0.1:65536'}}",
      "agent.json5: listen.tcp: \"127.0.0.1:65536\" is no address; allowed: \"host:port\" with a port from 0 to 65535, "
        + "or null"
    ),
    (
      "{listen: {socketMode: '999'}}",
      "agent.json5: listen.socketMode: \"999\" is no such mode; allowed: an octal mode in quotes, \"0600\" to \"0777\""
    ),
    (
      "{log: {level: 'loud'}}",
      "agent.json5: log.level: unknown value \"loud\"; allowed: debug, info, notice, warning, error"
    ),
    ("{\n name: 'a',\n name: 'b'}", "agent.json5: line 3, column 2: the key \"name\" stands twice in this object"),
    ("{\n name: a}", "agent.json5: line 2, column 8: \"a\" is no value; text stands in quotes"),
  ])
  func refusesAndSaysWhatIsAllowed(_ text: String, _ expected: String) {
    #expect(error(text) == expected)
  }

  @Test func overridesAreCheckedToo() {
    #expect(
      error("{}", [("engine.slots", "0")])
        == "command line, --set engine.slots=0: engine.slots: 0 is out of range; allowed: a whole number from 1 to 64")
    #expect(error("{}", [("", "0")]).contains("a key is missing"))
    #expect(error("{}", [("engine.slots.x", "0")]).contains("engine.slots: wrong type, found an object"))
  }

  @Test func aFileThatWasNamedMustBeThere() {
    #expect(throws: ConfigurationError.self) { try ConfigurationSource(file: "/nowhere/agent.json5").load() }
    #expect(throws: ConfigurationError.self) { try ConfigurationSource(file: scratch.path).load() }
  }

  @Test func whatAReloadCantTakeOverIsNamed() {
    var (before, after) = (AgentConfiguration(), AgentConfiguration())
    before.policyDirectory = "/p"
    after.policyDirectory = "/p"
    #expect(before.waitingForStart(in: after) == [])
    after.log.level = .debug
    #expect(before.waitingForStart(in: after) == [])
    after.engine.slots = 7
    after.listen.tcp = nil
    #expect(before.waitingForStart(in: after) == ["engine.slots", "listen.tcp"])
  }
}
