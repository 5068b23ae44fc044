import CommandLine
import Fleet
import Host
import Hub
import Storage
import Trust

/// The verbs. What goes wrong becomes a message with the exit status that belongs to it.
struct HubCommands {
  private let command: ParsedCommand
  private let directory: String

  init(_ command: ParsedCommand) {
    self.command = command
    directory = command.option("state") ?? "/var/lib/skerry-hub"
  }

  func run() async throws {
    do {
      switch command.path.joined(separator: " ") {
      case "init": try await initialise()
      case "serve": try await HubProgram.serve(directory: directory)
      case "token create": try await withHub(createToken)
      case "gc": try await withHub(collect)
      case "device list": try await withHub(listDevices)
      case "device show": try await withHub(showDevice)
      case "device revoke": try await withHub(revokeDevice)
      case "device assign": try await withHub(assignDevice)
      default: throw CommandFailure("this command is not there yet", status: .software)
      }
    } catch let error as HubError {
      throw failure(error)
    } catch let error as HubSetupError {
      // An address that is taken or not there yet may be free later: systemd starts again after it, not after 78.
      if case .cannotListen = error { throw CommandFailure(error.description, status: .tryLater) }
      throw CommandFailure(error.description, status: .configuration)
    } catch let error as InstanceLock.Failure {
      throw CommandFailure(error.description, status: .tryLater)
    } catch let error as StorageError {
      throw CommandFailure(error.description, status: error.isTransient ? .tryLater : .io)
    }
  }

  private func failure(_ error: HubError) -> CommandFailure {
    let (message, hint) = (error.error.message, error.error.hint)
    return switch error.code {
    case .notFound: CommandFailure(message, hint: hint, status: .noInput)
    case .busy: CommandFailure(message, hint: hint, status: .tryLater)
    default: CommandFailure(message, hint: hint, status: .failure)
    }
  }

  private func withHub(_ body: (HubAdministration) async throws -> Void) async throws {
    let hub = try HubAdministration(directory: directory)
    defer { hub.close() }
    try await body(hub)
  }

  private func show(_ value: JSONValue, _ text: @autoclosure () -> String) {
    if command.flag("json") { Voice.say(value.encodedPretty()) } else { Voice.say(text()) }
  }

  private func initialise() async throws {
    guard let url = command.option("url") else {
      throw UsageError(path: ["init"], "--url is missing: where will boxes find this hub?")
    }
    let configuration = try HubConfiguration(url: url, listen: command.option("listen"))
    let made = try await HubState.create(
      directory: directory, configuration: configuration, now: Clock.unixTime())
    show(
      [
        "state": .string(directory), "url": .string(made.url), "listen": .string(configuration.listen),
        "pin": .string(made.pin), "onlineKey": .string(made.onlineKey), "adminToken": .string(made.adminToken),
        "adminTokenFile": .string(made.adminTokenFile),
      ],
      """
      hub           \(made.url)
      listens on    \(configuration.listen)
      state         \(directory)
      key pin       \(made.pin)
      online key    \(made.onlineKey)
      admin token   \(made.adminToken)
                    also in \(made.adminTokenFile); it is shown only now

      """)
  }

  private func createToken(_ hub: HubAdministration) async throws {
    let lifetime = try command.seconds("expires") ?? 3600
    let token = try await hub.createToken(lifetime: lifetime)
    show(["token": .string(token.encoded), "expires": .integer(token.expires)], token.encoded + "\n")
    if !command.flag("json") { Voice.note("good for one box and for \(Readable.seconds(lifetime))") }
  }

  private func collect(_ hub: HubAdministration) async throws {
    let isDryRun = command.flag("dry-run")
    let found = try await hub.collect(grace: try command.seconds("grace") ?? Repository.grace, isDryRun: isDryRun)
    show(
      [
        "dryRun": .bool(isDryRun), "chunks": .integer(Int64(found.chunks)), "indexes": .integer(Int64(found.indexes)),
        "bytes": .integer(Int64(clamping: found.bytes)), "chunksKept": .integer(Int64(found.kept)),
      ],
      "\(isDryRun ? "would remove" : "removed") \(found.chunks) chunks and \(found.indexes) indexes, "
        + "\(Readable.bytes(found.bytes)); \(found.kept) chunks are needed\n")
  }

  private func listDevices(_ hub: HubAdministration) async throws {
    let views = try await hub.devices()
    var table = Table("box", "id", "last seen", "models", "audit", "findings")
    for view in views {
      let device = view.device
      let models = device.state?.models.map { "\($0.name) \($0.state)" }.joined(separator: ", ") ?? ""
      table.add(
        device.name, String(device.id.hex.prefix(12)), ago(device.lastSeen), models, audit(device),
        view.findings.first.map(\.text) ?? "none")
    }
    show(
      ["devices": .array(views.map(\.json))],
      views.isEmpty ? "no box has enrolled yet\n" : table.render())
  }

  private func showDevice(_ hub: HubAdministration) async throws {
    let view = try await hub.device(command.argument("BOX"))
    let device = view.device
    var lines = [
      "name       \(device.name)", "id         \(device.id)", "agent      \(device.agentVersion)",
      "last seen  \(ago(device.lastSeen))", "assigned   \(device.assigned?.joined(separator: ", ") ?? "all models")",
      "audit      \(audit(device))", "sandbox    \(device.state?.sandbox ?? "-")",
      "report     \(device.reportedAt.map { ago($0) } ?? "none yet")",
    ]
    for model in device.state?.models ?? [] { lines.append("model      \(model.name) \(model.version) \(model.state)") }
    for finding in view.findings { lines.append("\(finding.severity.rawValue): \(finding.text)") }
    show(try await hub.detailedJSON(view), Voice.printable(lines.joined(separator: "\n")) + "\n")
  }

  private func revokeDevice(_ hub: HubAdministration) async throws {
    let view = try await hub.device(command.argument("BOX"))
    try await hub.revoke(view)
    show(["revoked": .string(view.device.id.hex)], Voice.printable("revoked \(view.device.name) (\(view.device.id))\n"))
  }

  private func assignDevice(_ hub: HubAdministration) async throws {
    let names = command.arguments("MODEL")
    let choices = [command.flag("all"), command.flag("none"), !names.isEmpty].count { $0 }
    guard choices == 1 else {
      throw UsageError(path: ["device", "assign"], "name models, or give --all or --none")
    }
    let view = try await hub.device(command.argument("BOX"))
    let models: [String]? = command.flag("all") ? nil : names
    try await hub.assign(view, models: models)
    show(
      try await hub.device(view.device.id.hex).json,
      Voice.printable(
        "\(view.device.name) is to have \(models.map { $0.isEmpty ? "no model" : $0.joined(separator: ", ") } ?? "all models")\n"
      ))
  }

  private func audit(_ device: DeviceRecord) -> String {
    "\(device.state?.audit.size ?? 0) records, \(device.checkpoint?.size ?? 0) cosigned"
  }

  private func ago(_ time: Int64) -> String {
    let passed = Clock.unixTime() - time
    return passed < 1 ? "now" : "\(Readable.seconds(passed)) ago"
  }
}
