import Access
import CommandLine
import Fleet
import FoundationEssentials
import Models
import Storage
import Trust

/// `skerry repo access`: the policies by which a fleet's boxes decide who may do what.
enum RepoAccess {
  static func spec(
    directory: ArgumentSpec, changing: [OptionSpec]
  ) -> CommandSpec {
    let name = OptionSpec("name", value: "NAME", "the policy's name", default: PolicyTarget.standard)
    let role = OptionSpec("role", value: "ROLE", "the role that lists it", default: "targets")
    return CommandSpec(
      "access", "lists policies by which boxes decide who may do what",
      discussion: """
        A policy's document says until when it is good, which roles stay after that, and the most that a box may add of its \
        own; docs/access.md shows one. The policy called default is every box's that has no other assigned \
        (skerry hub device policy). A box takes a policy over when the hub and the publisher name the same one, it has no \
        errors, and its serial is not lower than that of the last.
        """,
      subcommands: [
        CommandSpec(
          "add", "checks a policy, adds it to a list and signs the list",
          discussion: """
            Takes the place of the policy of that name: its serial must be higher. What skerry role lint would say of it is \
            said; rules that can never count, and a policy under which nobody could give roles, are errors.
            """,
          arguments: [directory, ArgumentSpec("FILE", "the policy's document, JSON5", completion: .files)],
          options: changing + [name, role],
          examples: [
            Example("skerry repo access add models fleet.json5 --keys /media/keys", "for all boxes without another")
          ]),
        CommandSpec("list", "lists the policies", arguments: [directory]),
        CommandSpec(
          "remove", "takes a policy off its list and signs the list",
          discussion: "Boxes keep the policy that they have: signed rules end with a newer policy, not with none.",
          arguments: [directory, ArgumentSpec("NAME", "the policy's name")], options: changing),
      ])
  }

  static func run(_ command: ParsedCommand) throws {
    switch command.path.last {
    case "add": try add(command)
    case "remove": try remove(command)
    default: try list(command)
    }
  }

  private static func add(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let text = command.option("name") ?? PolicyTarget.standard
    guard let name = ModelName(text) else {
      throw UsageError(path: command.path, "“\(text)” is no policy's name", hint: "a name is \(ModelName.rule)")
    }
    let path = command.argument("FILE")
    let bytes = try readFile(path, limit: FleetPolicy.limit)
    let policy = try checked(bytes, path)
    let target = PolicyTarget(
      name: name, serial: policy.serial, length: UInt64(bytes.count), sha256: Digest(of: bytes))
    var isListed = false
    let draft = try RepoChange.perform(command, folder) { draft, _, expiry in
      let role = try RepoAdd.role(command, draft, target.path)
      if let other = try draft.tree().find(target.path) {
        if other.target == target.target, other.role == role {
          isListed = true
          return
        }
        guard other.role == role else {
          throw CommandFailure("the policy \(name) is listed by \(other.role)", status: .data)
        }
        guard let before = PolicyTarget(other.target)?.serial, before < policy.serial else {
          throw CommandFailure(
            "the policy \(name) is listed with serial \(PolicyTarget(other.target)?.serial ?? 0), and this one has "
              + "\(policy.serial)", hint: "boxes never go back: give the document a higher serial", status: .data)
        }
      }
      try DurableFile.makeDirectory(
        "\(folder.path)/targets/\(PolicyTarget.folder.dropLast())", mode: 0o755)
      try DurableFile.replace("\(folder.path)/targets/\(target.filePath)", with: bytes, mode: 0o644)
      try draft.edit(role, expires: expiry.targets) { $0.set(target.target) }
      try RepoAdd.demandFound(draft, target.target, role)
    }
    let said = "policy \(name): serial \(policy.serial), good until \(until(policy))"
    try RepoChange.tell(
      command, draft, isListed ? said + "; listed already, nothing changed" : "added the " + said,
      ["policy": json(target, policy)])
  }

  /// A document that boxes would take. What else there is to say of it is said.
  private static func checked(_ bytes: [UInt8], _ path: String) throws -> FleetPolicy {
    let policy: FleetPolicy
    do { policy = try FleetPolicy(parsing: bytes) } catch { throw CommandFailure("\(path): \(error)", status: .data) }
    guard !policy.isExpired(at: Int64(Date().timeIntervalSince1970)) else {
      throw CommandFailure("\(path): it expired at \(until(policy))", hint: "give it a later expires", status: .data)
    }
    for warning in policy.warnings() { Voice.note("\(path): \(warning)") }
    let errors = policy.errors()
    guard errors.isEmpty else {
      throw CommandFailure(
        errors.map { "\(path): \($0)" }.joined(separator: "\n"), hint: "no box would take it: mend the document",
        status: .data)
    }
    return policy
  }

  private static func until(_ policy: FleetPolicy) -> String {
    TUFTime.format(Date(timeIntervalSince1970: Double(policy.expires)))
  }

  private static func json(_ target: PolicyTarget, _ policy: FleetPolicy?) -> JSONValue {
    [
      "name": .string(target.name.description), "serial": .integer(target.serial), "sha256": .string(target.sha256.hex),
      "expires": policy.map { .string(until($0)) } ?? .null,
    ]
  }

  private static func remove(_ command: ParsedCommand) throws {
    let name = command.argument("NAME")
    let path = "\(PolicyTarget.folder)\(name).json5"
    let draft = try RepoChange.perform(command, RepoFolder(path: command.argument("DIR"))) { draft, _, expiry in
      guard let found = try draft.tree().find(path) else {
        throw CommandFailure(
          "the repository lists no policy \(name)", hint: "see: skerry repo access list \(draft.folder.path)",
          status: .noInput)
      }
      try draft.edit(found.role, expires: expiry.targets) { $0.removeTarget(path) }
    }
    try RepoChange.tell(command, draft, "removed the policy \(name); boxes keep the one that they have")
  }

  private static func list(_ command: ParsedCommand) throws {
    let folder = RepoFolder(path: command.argument("DIR"))
    let found = try folder.load().located.compactMap { role, target in
      PolicyTarget(target).map { (role: role, target: $0, policy: document(of: $0, folder)) }
    }
    guard !command.flag("json") else {
      return Voice.say(
        JSONValue.object(["policies": .array(found.map { json($0.target, $0.policy) })]).encodedPretty())
    }
    var table = Table("policy", "serial", "good until", "listed by", right: ["serial"])
    for one in found {
      table.add(
        one.target.name.description, "\(one.target.serial)", one.policy.map(until) ?? "its file is missing", one.role)
    }
    Voice.line(found.isEmpty ? "no policies" : String(table.render().dropLast()))
  }

  /// The document that a target names; nil where it is not in the folder.
  static func document(of target: PolicyTarget, _ folder: RepoFolder) -> FleetPolicy? {
    guard
      let bytes = try? DurableFile.read("\(folder.path)/targets/\(target.filePath)", limit: FleetPolicy.limit),
      Digest(of: bytes) == target.sha256
    else { return nil }
    return try? FleetPolicy(parsing: bytes)
  }

  /// Reads a policy's file as a box would, and checks length and digest.
  static func verify(_ target: PolicyTarget, _ source: RepoSource) async throws {
    let name = "targets/\(target.filePath)"
    guard let bytes = try await source.read(name, limit: Int(clamping: target.length)) else {
      throw CommandFailure(
        "the policy \(target.name): its file \(name) is missing", hint: "add it again", status: .data)
    }
    guard UInt64(bytes.count) == target.length, Digest(of: bytes) == target.sha256 else {
      throw CommandFailure(
        "the policy \(target.name): its file does not have the signed length and digest", hint: "add it again",
        status: .data)
    }
    do {
      guard try FleetPolicy(parsing: bytes).serial == target.serial else {
        throw CommandFailure("the policy \(target.name): its serial is not the signed one", status: .data)
      }
    } catch let error as PolicyError {
      throw CommandFailure("the policy \(target.name): \(error)", status: .data)
    }
  }
}
