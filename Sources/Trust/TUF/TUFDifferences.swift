/// What a new version of a file changes, in words, for those who are asked to sign it.
public enum TUFDifferences {
  /// One line for each change; `before` is nil for a first version. Throws `TUFError.malformed`.
  public static func lines(from before: TUFDocument?, to after: TUFDocument, role: String) throws(TUFError) -> [String]
  {
    let version = before.map { "version \($0.version) to \(after.version)" } ?? "new, version \(after.version)"
    var lines = ["\(role): \(version), expires \(TUFTime.format(after.expires))"]
    switch after.role {
    case .root: lines += try root(before, after)
    case .targets: lines += try targets(before, after)
    case .snapshot: lines += try snapshot(before, after)
    case .timestamp: lines.append("names snapshot version \(try TUFTimestamp(after).snapshot.version)")
    }
    return lines
  }

  private static func root(_ before: TUFDocument?, _ after: TUFDocument) throws(TUFError) -> [String] {
    let (old, new) = (try before.map { document throws(TUFError) in try TUFRoot(document) }, try TUFRoot(after))
    var lines: [String] = []
    for role in TUFRole.allCases {
      lines += keys(old?.roleKeys(role), old?.keys ?? [:], new.roleKeys(role), new.keys, role.rawValue)
    }
    if let old, old.consistentSnapshot != new.consistentSnapshot {
      lines.append("consistent snapshots: \(new.consistentSnapshot)")
    }
    let (was, now) = (before?.signed["skerry"], after.signed["skerry"])
    if was != now {
      lines.append("policy: \(now.map { String(decoding: $0.encoded(), as: UTF8.self) } ?? "none")")
    }
    return lines
  }

  private static func keys(
    _ old: TUFRoleKeys?, _ oldKeys: [String: TUFKey], _ new: TUFRoleKeys, _ newKeys: [String: TUFKey], _ role: String
  ) -> [String] {
    func name(_ id: String, _ keys: [String: TUFKey]) -> String { "\(id) (\(keys[id]?.scheme ?? "unknown"))" }
    var lines: [String] = []
    for id in old?.keyIDs ?? [] where !new.keyIDs.contains(id) { lines.append("\(role): - key \(name(id, oldKeys))") }
    for id in new.keyIDs where old?.keyIDs.contains(id) != true { lines.append("\(role): + key \(name(id, newKeys))") }
    if old?.threshold != new.threshold || !lines.isEmpty {
      lines.append("\(role): \(new.threshold) of \(new.keyIDs.count) keys must sign")
    }
    return lines
  }

  private static func targets(_ before: TUFDocument?, _ after: TUFDocument) throws(TUFError) -> [String] {
    let (old, new) = (try before.map { document throws(TUFError) in try TUFTargets(document) }, try TUFTargets(after))
    var lines: [String] = []
    func text(_ target: TUFTarget) -> String {
      "\(target.path) (\(target.length) bytes, \(target.sha256.map { "sha256 \($0.hex)" } ?? "sha512 \(target.hashes.fileNamePrefix)"))"
        + (signer(target).map { ", signed by its publisher: \($0)" } ?? "")
    }
    for target in old?.targets ?? [] where new[target.path] == nil { lines.append("- \(target.path)") }
    for target in new.targets {
      guard let was = old?[target.path] else {
        lines.append("+ \(text(target))")
        continue
      }
      if was != target { lines.append("! changed: \(text(target))") }
    }
    lines += delegations(old?.delegations, new.delegations)
    return lines
  }

  /// Whose own signature a model bears, on one line.
  private static func signer(_ target: TUFTarget) -> String? {
    guard let text = target.custom?["skerry"]?["signature"]?["signer"]?.string else { return nil }
    var plain = String.UnicodeScalarView()
    plain.append(
      contentsOf: text.unicodeScalars.prefix(256).filter {
        $0.properties.generalCategory != .control && $0.properties.generalCategory != .format
      })
    return String(plain)
  }

  private static func delegations(_ old: TUFDelegations?, _ new: TUFDelegations?) -> [String] {
    var lines: [String] = []
    for role in old?.roles ?? [] where new?.roles.contains(where: { $0.name == role.name }) != true {
      lines.append("- delegation to \(role.name)")
    }
    for role in new?.roles ?? [] {
      let was = old?.roles.first { $0.name == role.name }
      let covers =
        role.patterns.map { "paths \($0.joined(separator: " "))" }
        ?? "hash prefixes \((role.hashPrefixes ?? []).joined(separator: " "))"
      let isSame = was.map {
        $0.patterns == role.patterns && $0.hashPrefixes == role.hashPrefixes && $0.isTerminating == role.isTerminating
      }
      if isSame != true {
        lines.append(
          "\(was == nil ? "+" : "!") delegation to \(role.name): \(covers)\(role.isTerminating ? ", terminating" : "")")
      }
      lines += keys(was?.keys, old?.keys ?? [:], role.keys, new?.keys ?? [:], role.name)
    }
    switch (old?.bins, new?.bins) {
    case (let was?, nil): lines.append("- delegation to the bins \(was.namePrefix)-…")
    case (let was, let now?):
      if was?.bitLength != now.bitLength || was?.namePrefix != now.namePrefix {
        lines.append("+ delegation to \(1 << now.bitLength) bins \(now.namePrefix)-…")
      }
      lines += keys(was?.keys, old?.keys ?? [:], now.keys, new?.keys ?? [:], now.namePrefix)
    case (nil, nil): break
    }
    return lines
  }

  private static func snapshot(_ before: TUFDocument?, _ after: TUFDocument) throws(TUFError) -> [String] {
    let old = try before.map { document throws(TUFError) in try TUFSnapshot(document) }
    return try TUFSnapshot(after).files.sorted { $0.key < $1.key }.compactMap { name, meta in
      old?.files[name]?.version == meta.version ? nil : "names \(name) version \(meta.version)"
    }
  }
}
