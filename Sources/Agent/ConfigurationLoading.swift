import Fleet
import Storage
public import Trust

/// Why the agent can't be configured as asked; names the file or option, and the line or key.
public struct ConfigurationError: Error, CustomStringConvertible {
  public let description: String
}

/// Where the configuration comes from: a file, then the command line over it.
public struct ConfigurationSource: Sendable {
  public static let defaultFile = "/etc/skerry/agent.json5"

  /// The file. Nil: the default one, which may be absent.
  public var file: String?
  /// Key paths and values as given on the command line: `engine.slots` = `2`.
  public var overrides: [(key: String, value: String)]

  public init(file: String? = nil, overrides: [(key: String, value: String)] = []) {
    self.file = file
    self.overrides = overrides
  }

  /// A `KEY=VALUE` of the command line; without an equals sign the value is empty.
  public static func override(_ text: String) -> (key: String, value: String) {
    let sides = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    return (sides[0], sides.count > 1 ? sides[1] : "")
  }

  /// Reads and merges. Throws `ConfigurationError`.
  public func load() throws(ConfigurationError) -> AgentConfiguration {
    let name = file ?? ConfigurationSource.defaultFile
    var document = try read(name)
    do { _ = try AgentConfiguration(JSONField(document)) } catch {
      throw ConfigurationError(description: "\(name): \(error)")
    }
    for (key, value) in overrides {
      document = try ConfigurationSource.set(document, key.split(separator: ".").map(String.init), value, key)
      do { _ = try AgentConfiguration(JSONField(document)) } catch {
        throw ConfigurationError(description: "command line, --set \(key)=\(value): \(error)")
      }
    }
    do { return try AgentConfiguration(JSONField(document)) } catch {
      throw ConfigurationError(description: "\(name): \(error)")
    }
  }

  private func read(_ name: String) throws(ConfigurationError) -> JSONValue {
    let found: [UInt8]?
    do { found = try DurableFile.read(name, limit: 1 << 20) } catch {
      throw ConfigurationError(description: "\(name): can't be read: \(error)")
    }
    guard let bytes = found else {
      guard file == nil else { throw ConfigurationError(description: "\(name): no such file") }
      return .object([:])
    }
    do { return try JSONValue(parsing: bytes, json5: true) } catch {
      throw ConfigurationError(description: "\(name): \(error)")
    }
  }

  /// The document with one value in it replaced. What is no JSON5 is meant as text.
  private static func set(
    _ document: JSONValue, _ path: [String], _ text: String, _ key: String
  ) throws(ConfigurationError) -> JSONValue {
    guard let first = path.first else {
      throw ConfigurationError(description: "command line, --set \"\(key)\": a key is missing; write --set KEY=VALUE")
    }
    var members = document.object ?? [:]
    if path.count == 1 {
      members[first] = (try? JSONValue(parsing: text.utf8, json5: true)) ?? .string(text)
    } else {
      members[first] = try set(members[first] ?? .object([:]), Array(path.dropFirst()), text, key)
    }
    return .object(members)
  }
}

extension AgentConfiguration {
  /// The effective values, all of them, as `--check` prints them.
  public var effective: JSONValue {
    [
      "name": name.map(JSONValue.string) ?? .null, "labels": .object(labels.mapValues(JSONValue.string)),
      "stateDirectory": .string(stateDirectory), "runtimeDirectory": .string(runtimeDirectory),
      "policyDirectory": .string(policyDirectory), "store": store.effective,
      "listen": [
        "socket": .string(socketPath), "socketMode": .string("0" + String(listen.socketMode, radix: 8)),
        "tcp": listen.tcp.map(JSONValue.string) ?? .null, "beyondLoopback": .bool(listen.beyondLoopback),
      ],
      "engine": [
        "path": .string(enginePath), "sandbox": .string(engine.sandbox.rawValue),
        "devices": .array(engine.devices.map(JSONValue.string)),
        "idleSeconds": .integer(Int64(engine.idleSeconds)), "contextTokens": .integer(Int64(engine.contextTokens)),
        "memoryMiB": .integer(Int64(engine.memoryMiB)), "drainSeconds": .integer(Int64(engine.drainSeconds)),
        "reloadAt": engine.reloadMinute.map { .string(QuietHours.clock($0)) } ?? .null,
        "slots": engine.slots.map { .integer(Int64($0)) } ?? .null, "threads": .integer(Int64(engine.threads)),
        "startSeconds": .integer(Int64(engine.startSeconds)),
        "promptCacheMiB": engine.promptCacheMiB.map { .integer(Int64($0)) } ?? .null,
        "arguments": .array(engine.arguments.map(JSONValue.string)),
      ],
      "sync": .object(
        sync.transfer.effective.merging(
          [
            "probeSeconds": .integer(Int64(sync.probeSeconds)),
            "intervalSeconds": .integer(Int64(sync.intervalSeconds)),
          ]) { _, own in own }),
      "bundle": bundle.effective, "breakGlass": breakGlass.effective, "audit": audit.effective,
      "log": ["level": .string(log.level.rawValue)],
      "limits": [
        "maxBodyBytes": .integer(Int64(limits.maxBodyBytes)),
        "maxConnections": .integer(Int64(limits.maxConnections)),
        "maxInFlight": .integer(Int64(limits.maxInFlight)), "queue": .integer(Int64(limits.queue)),
        "managementPerMinute": .integer(Int64(limits.managementPerMinute)),
        "usageDays": .integer(Int64(limits.usageDays)),
        "requestSeconds": .integer(Int64(limits.requestSeconds)),
        "drainSeconds": .integer(Int64(limits.drainSeconds)),
      ],
      "identityProviders": .array(identityProviders.map(\.effective)),
      "site": site.effective, "models": models.effective,
      "engines": .object(engines.mapValues(\.effective)),
    ]
  }
}

extension AgentConfiguration {
  /// Keys that a running agent takes over when it is reloaded.
  static let reloadable: Set = ["log.level", "identityProviders"]

  /// The keys, like `engine.slots`, whose values `other` has differently and that only a new start takes over.
  func waitingForStart(in other: AgentConfiguration) -> [String] {
    Self.differences(effective, other.effective, "").filter { !Self.reloadable.contains($0) }
  }

  private static func differences(_ one: JSONValue, _ other: JSONValue, _ path: String) -> [String] {
    guard let left = one.object, let right = other.object else { return one == other ? [] : [path] }
    return Set(left.keys).union(right.keys).sorted().flatMap { key in
      differences(left[key] ?? .null, right[key] ?? .null, path.isEmpty ? key : "\(path).\(key)")
    }
  }
}
