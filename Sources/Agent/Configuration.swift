import Access
import Glibc
import Trust

/// What the agent is told by `agent.json5` and the command line. Every key has a default that works as it stands.
public struct AgentConfiguration: Sendable, Hashable {
  /// The name the box goes by in the fleet. Nil: the host's name.
  public var name: String?
  /// What the box is, for conditions in policies: `site: "oslo"`.
  public var labels: [String: String] = [:]
  /// Holds everything that must survive: database, audit log, registry, keys.
  public var stateDirectory = "/var/lib/skerry"
  /// Holds sockets; emptied by a reboot.
  public var runtimeDirectory = "/run/skerry"
  /// Holds `roles.json5`.
  public var policyDirectory = "/etc/skerry/policies"
  public var listen = Listen()
  public var engine = Engine()
  public var sync = Sync()
  public var bundle = Bundle()
  public var breakGlass = BreakGlassSettings()
  /// Whose ID tokens name callers.
  public var identityProviders: [IdentityProvider] = []
  public var audit = AuditRetention()
  public var store = StorePolicy()
  public var log = Logging()
  public var limits = Limits()
  public var site = SiteConfiguration()
  /// Engines other than llama.cpp, by name, over what is ready-made.
  var engines: [String: EngineDescription] = [:]
  /// Settings of single models, by patterns of their names.
  var models = ModelSettingsTable()

  public init() {}

  public struct Listen: Sendable, Hashable {
    /// The Unix socket. Nil: `skerry.sock` in the runtime directory.
    public var socket: String?
    /// Who may connect; what they may do there, roles decide.
    public var socketMode: UInt32 = 0o666
    /// `host:port` for callers with tokens; nil: none.
    public var tcp: String? = "127.0.0.1:7433"
    /// Whether `tcp` may be an address that other machines reach.
    public var beyondLoopback = false
  }

  public enum SandboxMode: String, Sendable, CaseIterable {
    case required, preferred, off
  }

  public struct Engine: Sendable, Hashable {
    /// The engine's program. Nil: `$SKERRY_LLAMA_SERVER`, else `/usr/lib/skerry/llama-server`.
    public var path: String?
    public var sandbox = SandboxMode.preferred
    /// Device nodes that engines may open, for graphics processors. `auto` alone: those that are there.
    public var devices: [String] = []
    /// An engine that answered nobody for so long is stopped. 0: never.
    public var idleSeconds = 300
    /// The most that all engines together may take, in MiB. 0: three quarters of what the host has.
    public var memoryMiB = 0
    /// How long an engine that is to go may finish its answers: at an upgrade, a reload, `skerry model unload`.
    public var drainSeconds = 300
    /// The minute of the day at which loaded engines are started anew; nil: never.
    public var reloadMinute: Int?
    /// Context of each slot. 0: what fits the box and the model, at most 4096.
    public var contextTokens = 0
    /// Requests that one engine answers at the same time. Nil: what fits the box.
    public var slots: Int?
    /// 0: one for each core that may be used.
    public var threads = 0
    /// How long an engine may take to load its model.
    public var startSeconds = 120
    /// The most that an engine spends on remembered prompts, in MiB. Nil: what fits the box, at most 256.
    public var promptCacheMiB: Int?
    /// Further arguments for the engine's program.
    public var arguments: [String] = []
  }

  public struct Sync: Sendable, Hashable {
    /// How often to look whether the hub can be reached.
    public var probeSeconds = 4
    /// How often to sync while it can.
    public var intervalSeconds = 900
    /// When and how fast models travel.
    public var transfer = TransferConfiguration()
  }

  public struct Logging: Sendable, Hashable {
    public enum Level: String, Sendable, CaseIterable { case debug, info, notice, warning, error }
    public var level = Level.info
  }

  public struct Limits: Sendable, Hashable {
    /// The largest request body, in bytes.
    public var maxBodyBytes = 8 << 20
    public var maxConnections = 256
    /// Requests worked on at the same time; more are told to come back.
    public var maxInFlight = 128
    /// Requests of one caller that may wait for an engine, where no role says.
    public var queue = 32
    /// Requests a minute that one caller may make that are no inferences.
    public var managementPerMinute = 3000
    /// For how many days `skerry usage` keeps what was used.
    public var usageDays = 400
    /// How long one request may take.
    public var requestSeconds = 900
    /// How long requests may go on after SIGTERM.
    public var drainSeconds = 10
  }

  /// The Unix socket that the agent listens on.
  public var socketPath: String { listen.socket ?? runtimeDirectory + "/skerry.sock" }
  /// Where engines put their sockets.
  public var engineSocketDirectory: String { runtimeDirectory + "/engines" }
  /// The engine's program.
  public var enginePath: String {
    engine.path ?? getenv("SKERRY_LLAMA_SERVER").map { String(cString: $0) } ?? "/usr/lib/skerry/llama-server"
  }
}

extension AgentConfiguration {
  /// Decodes strictly: an unknown key, a wrong type or a value out of range is an error.
  init(_ document: JSONField) throws(JSONFieldError) {
    let top = try document.members([
      "name", "stateDirectory", "runtimeDirectory", "policyDirectory", "listen", "engine", "sync", "store", "log",
      "limits", "site", "bundle", "breakGlass", "audit", "models", "engines", "labels",
      "identityProviders",
    ])
    if let field = top["name"], !field.isNull { name = try AgentConfiguration.boxName(field, orNull: true) }
    for (label, field) in try (top["labels"]?.object() ?? [:]) {
      labels[label] = try AgentConfiguration.label(label, field)
    }
    if let field = top["stateDirectory"] { stateDirectory = try AgentConfiguration.path(field) }
    if let field = top["runtimeDirectory"] { runtimeDirectory = try AgentConfiguration.path(field, longest: 72) }
    if let field = top["policyDirectory"] { policyDirectory = try AgentConfiguration.path(field) }
    if let field = top["listen"] { listen = try Listen(field) }
    if let field = top["engine"] { engine = try Engine(field) }
    if let field = top["sync"] { sync = try Sync(field) }
    if let field = top["bundle"] { bundle = try Bundle(field) }
    if let field = top["audit"] { audit = try AuditRetention(field) }
    if let field = top["identityProviders"] { identityProviders = try IdentityProvider.all(field) }
    if let field = top["breakGlass"] { breakGlass = try BreakGlassSettings(field) }
    if let field = top["store"] { store = try StorePolicy(field) }
    if let field = top["log"] {
      let members = try field.members(["level"])
      if let level = members["level"] { log.level = try level.choice() }
    }
    if let field = top["limits"] { limits = try Limits(field) }
    if let field = top["site"] { site = try SiteConfiguration(field) }
    if let field = top["engines"] { engines = try AgentConfiguration.engines(field) }
    if let field = top["models"] { models = try ModelSettingsTable(field) }
  }

  static func path(_ field: JSONField, longest: Int = 4000) throws(JSONFieldError) -> String {
    let allowed = "an absolute path of at most \(longest) bytes"
    let text = try field.string(allowed)
    guard text.hasPrefix("/"), text.utf8.count <= longest, !text.utf8.contains(0) else {
      throw field.wrong("\"\(text)\" is no such path", allowed: allowed)
    }
    return text.count > 1 && text.hasSuffix("/") ? String(text.dropLast()) : text
  }

  private static func label(_ name: String, _ field: JSONField) throws(JSONFieldError) -> String {
    guard Role.isName(name) else { throw field.wrong("no label's name", allowed: Role.allowedNames) }
    let allowed = "a text of 1 to 128 bytes"
    let text = try field.string(allowed)
    guard (1...128).contains(text.utf8.count) else { throw field.wrong("no label's value", allowed: allowed) }
    return text
  }

  static func boxName(_ field: JSONField, orNull: Bool = false) throws(JSONFieldError) -> String {
    let allowed = (orNull ? "null, or " : "") + "1 to 64 letters, digits, '.', '_', '-'"
    let text = try field.string(allowed)
    let isPlain = text.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
      default: false
      }
    }
    guard isPlain, (1...64).contains(text.utf8.count) else {
      throw field.wrong("\"\(text)\" is no name", allowed: allowed)
    }
    return text
  }
}

extension AgentConfiguration.Listen {
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["socket", "socketMode", "tcp", "beyondLoopback"])
    if let field = members["socket"], !field.isNull { socket = try AgentConfiguration.path(field, longest: 107) }
    if let field = members["socketMode"] {
      let allowed = "an octal mode in quotes, \"0600\" to \"0777\""
      let text = try field.string(allowed)
      guard let mode = UInt32(text, radix: 8), (0o600...0o777).contains(mode) else {
        throw field.wrong("\"\(text)\" is no such mode", allowed: allowed)
      }
      socketMode = mode
    }
    if let field = members["beyondLoopback"] { beyondLoopback = try field.bool() }
    if let field = members["tcp"] {
      tcp = field.isNull ? nil : try field.string("\"host:port\" or null")
      try checkAddress(field)
    }
  }

  private func checkAddress(_ field: JSONField) throws(JSONFieldError) {
    guard let tcp else { return }
    guard let address = AgentConfiguration.address(tcp) else {
      throw field.wrong("\"\(tcp)\" is no address", allowed: "\"host:port\" with a port from 0 to 65535, or null")
    }
    let isLoopback = address.host.hasPrefix("127.") || address.host == "::1" || address.host == "localhost"
    guard isLoopback || beyondLoopback else {
      throw field.wrong(
        "\"\(tcp)\" is reached from other machines", allowed: "127.0.0.1 or [::1], or beyondLoopback: true beside it")
    }
  }
}

extension AgentConfiguration {
  /// `host:port`, `[v6]:port`; nil when it is neither.
  static func address(_ text: String) -> (host: String, port: Int)? {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
      (0...65535).contains(port)
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    return host.isEmpty || host.utf8.contains(0x20) ? nil : (host, port)
  }
}

extension AgentConfiguration.Engine {
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members([
      "path", "sandbox", "devices", "idleSeconds", "contextTokens", "slots", "threads", "startSeconds",
      "promptCacheMiB", "arguments", "memoryMiB", "drainSeconds", "reloadAt",
    ])
    if let field = members["path"], !field.isNull { path = try AgentConfiguration.path(field) }
    if let field = members["sandbox"] { sandbox = try field.choice() }
    if let field = members["devices"] { devices = try Self.devices(field) }
    if let field = members["idleSeconds"] { idleSeconds = try field.integer(0...86_400 * 7) }
    if let field = members["contextTokens"] { contextTokens = try field.integer(0...1_048_576) }
    if let field = members["memoryMiB"] { memoryMiB = try field.integer(0...1 << 24) }
    if let field = members["drainSeconds"] { drainSeconds = try field.integer(0...86_400) }
    if let field = members["reloadAt"], !field.isNull { reloadMinute = try ModelSettings.minute(field) }
    if let field = members["slots"], !field.isNull { slots = try field.integer(1...64) }
    if let field = members["threads"] { threads = try field.integer(0...512) }
    if let field = members["startSeconds"] { startSeconds = try field.integer(1...3600) }
    if let field = members["promptCacheMiB"], !field.isNull { promptCacheMiB = try field.integer(0...65_536) }
    if let field = members["arguments"] {
      for element in try field.array(of: "strings") { arguments.append(try element.string()) }
    }
  }
}

extension AgentConfiguration.Sync {
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["probeSeconds", "intervalSeconds"] + TransferConfiguration.keys)
    transfer = try TransferConfiguration(members)
    if let field = members["probeSeconds"] { probeSeconds = try field.integer(1...3600) }
    if let field = members["intervalSeconds"] { intervalSeconds = try field.integer(5...86_400 * 30) }
  }
}

extension AgentConfiguration.Limits {
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members([
      "maxBodyBytes", "maxConnections", "maxInFlight", "queue", "managementPerMinute", "usageDays", "requestSeconds",
      "drainSeconds",
    ])
    if let field = members["queue"] { queue = try field.integer(0...65_536) }
    if let field = members["managementPerMinute"] { managementPerMinute = try field.integer(10...1_000_000) }
    if let field = members["usageDays"] { usageDays = try field.integer(1...36_500) }
    if let field = members["maxBodyBytes"] { maxBodyBytes = try field.integer(1024...1 << 30) }
    if let field = members["maxConnections"] { maxConnections = try field.integer(4...65_536) }
    if let field = members["maxInFlight"] { maxInFlight = try field.integer(1...65_536) }
    if let field = members["requestSeconds"] { requestSeconds = try field.integer(1...86_400) }
    if let field = members["drainSeconds"] { drainSeconds = try field.integer(0...600) }
  }
}
