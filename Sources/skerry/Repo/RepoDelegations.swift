import CommandLine
import Storage
import Trust

/// `skerry repo delegate`: hands paths to a role with keys of its own.
enum RepoDelegations {
  /// As many empty lists are signed and listed at most.
  static let mostBits = 12

  static func delegate(_ command: ParsedCommand) throws {
    let name = command.argument("NAME")
    guard TUFFileName.isRole(name) else {
      throw UsageError(path: command.path, "“\(name)” is no name for a role", hint: "a name is \(TUFFileName.rule)")
    }
    let delegator = command.option("from") ?? "targets"
    let folder = RepoFolder(path: command.argument("DIR"))
    if command.flag("revoke") { return try revoke(command, folder, name, delegator) }
    let paths = try paths(command)
    let draft = try RepoChange.perform(command, folder) { draft, ring, expiry in
      let keys = try command.options("key").map { try ring.publicKey($0) }
      guard !keys.isEmpty else { throw UsageError(path: command.path, "whose keys? give --key KEY") }
      let threshold = try RoleKeys.checked(
        command, try command.integer("threshold", in: 1...1000).map { Int($0) } ?? 1, keys)
      guard draft.staging.document(delegator) != nil, TUFRole(rawValue: delegator).map({ $0 == .targets }) ?? true
      else {
        throw CommandFailure("the repository has no role \(delegator) that could delegate", status: .noInput)
      }
      let delegation = TUFDelegation(
        name: name, keys: keys, threshold: threshold, paths: paths, isTerminating: command.flag("terminating"))
      try draft.edit(delegator, expires: expiry.targets) { try $0.set(delegation) }
      try refuseCycle(draft, name, delegator)
      for role in names(name, paths) { try draft.begin(role, expires: expiry.targets) }
    }
    try RepoChange.tell(command, draft, "\(delegator) delegates to \(name)", ["role": .string(name)])
  }

  private static func revoke(_ command: ParsedCommand, _ folder: RepoFolder, _ name: String, _ delegator: String) throws
  {
    let draft = try RepoChange.perform(command, folder) { draft, _, expiry in
      guard let document = draft.staging.document(delegator), let delegations = try TUFTargets(document).delegations,
        delegations.roles.contains(where: { $0.name == name }) || delegations.bins?.namePrefix == name
      else { throw CommandFailure("\(delegator) does not delegate to \(name)", status: .noInput) }
      try draft.edit(delegator, expires: expiry.targets) { $0.removeDelegation(name) }
    }
    try RepoChange.tell(command, draft, "\(delegator) no longer delegates to \(name)", ["role": .string(name)])
  }

  private static func paths(_ command: ParsedCommand) throws -> TUFDelegation.Paths {
    let (patterns, prefixes) = (command.options("paths"), command.options("hash-prefixes"))
    let bits = try command.integer("succinct", in: 1...Int64(mostBits))
    guard [!patterns.isEmpty, !prefixes.isEmpty, bits != nil].filter(\.self).count == 1 else {
      throw UsageError(
        path: command.path, "which paths? give one of --paths, --hash-prefixes and --succinct",
        hint: "for example --paths 'models/acme/*/*'; a star does not go over a slash")
    }
    if let bits { return .succinct(bits: Int(bits)) }
    let split = prefixes.flatMap { $0.split(separator: ",").map { $0.lowercased() } }
    for prefix in split where !(1...64).contains(prefix.count) || !prefix.allSatisfy(\.isHexDigit) {
      throw UsageError(path: command.path, "“\(prefix)” is no beginning of a SHA-256 in hexadecimal")
    }
    return patterns.isEmpty ? .hashPrefixes(split) : .patterns(patterns)
  }

  /// A role that delegates to who delegates to it is looked into once only; nobody means that.
  private static func refuseCycle(_ draft: RepoDraft, _ name: String, _ delegator: String) throws {
    var seen: Set<String> = []
    var waiting = [delegator]
    while let next = waiting.popLast() {
      guard next != name else {
        throw CommandFailure(
          "\(name) delegates to \(delegator), directly or over others: that would be a ring", status: .data)
      }
      guard seen.insert(next).inserted else { continue }
      waiting += try draft.staging.delegators(of: next).map(\.name)
    }
  }

  private static func names(_ name: String, _ paths: TUFDelegation.Paths) -> [String] {
    guard case .succinct(let bits) = paths else { return [name] }
    let width = (bits + 3) / 4
    return (0..<(1 << bits)).map { number in
      let digits = String(number, radix: 16)
      return "\(name)-" + String(repeating: "0", count: width - digits.count) + digits
    }
  }
}
