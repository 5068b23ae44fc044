import CommandLine
import FoundationEssentials
import Storage
import Trust

/// What a file still needs.
struct OpenSignatures {
  let file: TUFStagedFile
  let need: TUFSigningNeed
  let missing: Int
  /// The keys that could still sign.
  let keys: [TUFKey]
}

extension TUFStaging {
  /// Signs every staged file of these roles with every key at hand that it is waiting for. Returns what was signed.
  mutating func sign(_ roles: [String], with ring: RepoKeyring) throws -> [(file: String, keyID: String)] {
    var done: [(file: String, keyID: String)] = []
    for role in roles {
      guard var file = files[role] else { continue }
      let message = try file.message()
      let signed = Set(file.document.signatures.map(\.keyID))
      for (keyID, key) in try signingKeys(role).sorted(by: { $0.key < $1.key }) where !signed.contains(keyID) {
        guard let signature = try ring.signature(by: key, over: message, of: file) else { continue }
        try file.add(signature, by: keyID)
        done.append((file.fileName, keyID))
      }
      put(file)
    }
    return done
  }

  /// What the staged files of these roles still need.
  func open(_ roles: [String]? = nil) throws -> [OpenSignatures] {
    var found: [OpenSignatures] = []
    for file in ordered where roles?.contains(file.role) ?? true {
      let needs = try needs(file.role)
      guard !needs.isEmpty else {
        throw CommandFailure("nobody delegates to \(file.role), so that nobody can sign it", status: .data)
      }
      for need in needs {
        let missing = try need.missing(in: file.document)
        guard missing > 0 else { continue }
        let signers = try need.signers(of: file.document)
        found.append(
          OpenSignatures(
            file: file, need: need, missing: missing, keys: need.known.filter { !signers.contains($0.keyID) }))
      }
    }
    return found
  }
}

extension RepoDraft {
  /// How far a commit came.
  enum Outcome {
    /// The new state is current.
    case done
    /// These signatures are missing; nothing current has changed.
    case open([OpenSignatures])
  }

  /// Signs with the keys at hand, and if that is all that is needed makes the staged state the current one: lists first,
  /// then a snapshot over them, then a timestamp. `renewing` names snapshot or timestamp when they are to be signed again
  /// although nothing else has changed.
  mutating func commit(
    with ring: RepoKeyring, expiry: RepoExpiry, renewing: Set<String> = [], now: Date = Date()
  ) throws -> Outcome {
    let lists = staging.files.keys.filter { $0 != "snapshot" && $0 != "timestamp" }.sorted()
    _ = try staging.sign(lists, with: ring)
    var open = try staging.open(lists)
    guard open.isEmpty else { return .open(open) }
    if !isHubSigned {
      try stageSnapshot(expiry, renewing)
      _ = try staging.sign(["snapshot"], with: ring)
      open = try staging.open(["snapshot"])
      guard open.isEmpty else { return .open(open) }
      try stageTimestamp(expiry, renewing, now)
      _ = try staging.sign(["timestamp"], with: ring)
      open = try staging.open(["timestamp"])
      guard open.isEmpty else { return .open(open) }
    } else {
      staging.remove("snapshot")
      staging.remove("timestamp")
    }
    guard !staging.isEmpty else { return .done }
    try RepoJournal.commit(
      staging.publicationOrder().map { ($0.fileName, $0.document.bytes) }, isHubSigned: isHubSigned, in: folder)
    return .done
  }

  /// A snapshot over the lists as they will be, unless the current or the staged one is just that.
  private mutating func stageSnapshot(_ expiry: RepoExpiry, _ renewing: Set<String>) throws {
    let notLists = ["root", "snapshot", "timestamp", TUFStagedFile.director]
    var files = contents?.snapshot?.files ?? [:]
    for file in staging.files.values where !notLists.contains(file.role) {
      files["\(file.role).json"] = TUFFileMeta(of: file.document)
    }
    if contents?.snapshot == nil {
      // The first snapshot of ours: everything that there is.
      for (role, document) in staging.base where !notLists.contains(role) {
        files["\(role).json"] = files["\(role).json"] ?? TUFFileMeta(of: document)
      }
    }
    if let staged = staging.files["snapshot"], try TUFSnapshot(staged.document).files == files { return }
    let isGood = try contents?.snapshot?.files == files && staging.isSigned("snapshot")
    if isGood, !renewing.contains("snapshot"), staging.files["snapshot"] == nil { return }
    let version = (staging.base["snapshot"]?.version ?? 0) + 1
    staging.put(
      try TUFStagedFile(
        role: "snapshot", TUFWriter.snapshot(version: version, expires: expiry.online, files: files)))
  }

  private mutating func stageTimestamp(_ expiry: RepoExpiry, _ renewing: Set<String>, _ now: Date) throws {
    guard let snapshot = staging.document("snapshot") else { throw TUFError.missing(file: "snapshot.json") }
    let meta = TUFFileMeta(of: snapshot)
    if let staged = staging.files["timestamp"], try TUFTimestamp(staged.document).snapshot == meta { return }
    let isGood = try contents?.timestamp?.snapshot == meta && staging.isSigned("timestamp")
    if isGood, !renewing.contains("timestamp"), staging.files["timestamp"] == nil { return }
    let version = (staging.base["timestamp"]?.version ?? 0) + 1
    staging.put(
      try TUFStagedFile(
        role: "timestamp", TUFWriter.timestamp(version: version, expires: expiry.online, snapshot: meta, signedAt: now))
    )
  }
}

/// What is missing, in words.
enum OpenText {
  static func lines(_ open: [OpenSignatures], _ ring: RepoKeyring?) -> [String] {
    open.map { item in
      let keys = item.keys.map { key in
        ring?.name(of: key).map { "\($0) (\(key.keyID.prefix(8)))" } ?? String(key.keyID.prefix(8))
      }
      let count = item.missing == 1 ? "1 signature" : "\(item.missing) signatures"
      return "\(item.file.fileName) needs \(count) more as \(item.need.by) demands, by \(keys.joined(separator: ", "))"
    }
  }
}

/// The frame of every command that changes a repository: sign now with the keys at hand, or stage for a ceremony.
enum RepoChange {
  /// Changes the draft; unless `--stage` was given signs it and makes it current, or leaves everything as it was.
  static func perform(
    _ command: ParsedCommand, _ folder: RepoFolder, renewing: Set<String> = [], ring known: RepoKeyring? = nil,
    _ change: (inout RepoDraft, RepoKeyring, RepoExpiry) throws -> Void
  ) throws -> RepoDraft {
    var draft = try RepoDraft(folder)
    let isStaging = command.flag("stage")
    guard isStaging || draft.staging.isEmpty else { throw staged(folder) }
    let ring = try known ?? (isStaging ? RepoKeyring(command) : RepoKeyring.demanded(command))
    let expiry = try RepoExpiry(command, now: Date())
    try change(&draft, ring, expiry)
    try draft.settle(expiry)
    try finish(command, &draft, ring, expiry, renewing)
    return draft
  }

  static func finish(
    _ command: ParsedCommand, _ draft: inout RepoDraft, _ ring: RepoKeyring, _ expiry: RepoExpiry,
    _ renewing: Set<String> = []
  ) throws {
    guard !command.flag("stage") else { return try draft.save() }
    if case .open(let open) = try draft.commit(with: ring, expiry: expiry, renewing: renewing) {
      throw missing(open, ring)
    }
  }

  static func missing(_ open: [OpenSignatures], _ ring: RepoKeyring) -> CommandFailure {
    CommandFailure(
      "the keys at hand don't suffice: \(OpenText.lines(open, ring).joined(separator: "; "))",
      hint: "nothing has changed; give --keys with those keys, or --stage to collect signatures elsewhere",
      status: .data)
  }

  private static func staged(_ folder: RepoFolder) -> CommandFailure {
    CommandFailure(
      "\(folder.path) has staged changes that wait for signatures",
      hint: "add to them with --stage, finish them with 'skerry repo commit', or drop them with 'skerry repo stage "
        + "\(folder.path) --discard'", status: .data)
  }

  /// The end of a command's words: what is current now, or what is to be done next.
  static func tell(_ command: ParsedCommand, _ draft: RepoDraft, _ text: String, _ more: [String: JSONValue] = [:])
    throws
  {
    let version = draft.staging.document("targets")?.version ?? 0
    let isStaged = command.flag("stage")
    guard command.flag("json") else {
      Voice.line(isStaged ? "staged: \(text)" : "\(text) (targets version \(version))")
      if isStaged {
        for line in try draft.summary() { Voice.line(line) }
        Voice.line("next: skerry repo stage \(draft.folder.path) FILE, and have FILE signed")
      }
      return
    }
    var fields = more
    fields["message"] = .string(text)
    fields["targetsVersion"] = .integer(version)
    fields["staged"] = .bool(isStaged)
    if isStaged { fields["summary"] = .array(try draft.summary().map { .string($0) }) }
    Voice.say(JSONValue.object(fields).encodedPretty())
  }
}
