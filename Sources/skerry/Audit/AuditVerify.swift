import CommandLine
import Fleet
import Glibc
import Trust

let auditVerifySpec = CommandSpec(
  "verify", "verify an exported log or one entry's evidence, without box or hub",
  discussion: """
    Checks every entry against the tree, the head against the device's signature, and the part that the hub has seen \
    against the hub's cosignature. Give the keys as you got them from elsewhere: without --key the export is checked \
    against the key that it names itself, which proves that it is whole, but not whose it is. With --head, a head that the \
    hub cosigned, it also shows whether the log is older than that or was begun anew.

    FILE is an export in Skerry's own form, one in another form with FILE.proof beside it, a folder of tiles, or a \
    .tlog-proof. A FILE.proof that is there must be of this very file. It says what could be proven and what could not.

    Ends with 0 when everything is as it was signed; with 65 when anything is not, and names the first entry that isn't; \
    with 66 when there is no such file.
    """,
  arguments: [ArgumentSpec("FILE", "the export, or - for standard input", completion: .files)],
  options: [
    OptionSpec("key", value: "VKEY", "the device's note key (skerry status --json: keys.device)"),
    OptionSpec("witness", value: "VKEY", "the hub's witness key (skerry status --json: keys.witness)"),
    OptionSpec(
      "head", value: "FILE", "a head that the hub cosigned (skerry hub device show: checkpoint)",
      completion: .files),
  ],
  examples: [Example("skerry audit verify log.jsonl --key \"$KEY\"", "is this that box's log, as it wrote it?")])

let auditVerify: Runner = { invocation in
  let file = invocation.argument("FILE")
  let (device, witness) = (try noteKey("key", invocation), try noteKey("witness", invocation))
  let known = try invocation.command.option("head").map(noteFile)
  var status = stat()
  let isThere = file != "-" && stat(file, &status) == 0
  if isThere, status.st_mode & S_IFMT == S_IFDIR, access(file + "/checkpoint", F_OK) == 0 {
    return try verifyTiles(file, invocation, device: device, witness: witness, known: known)
  }
  var verifier = AuditVerifier(deviceKey: device, witness: witness, known: known)
  let bar = ProgressBar(hidden: invocation.json)
  var manifest = isThere ? try AuditManifestCheck(file, .jsonl) : nil
  if isThere, manifest == nil, access(file + ".proof", F_OK) == 0 {
    try verifyBeside(file, &verifier)
  } else {
    let total = isThere ? UInt64(max(0, status.st_size)) : 0
    var done: UInt64 = 0
    var proof: [UInt8]?
    try readPieces(file) { piece in
      if done == 0, piece.starts(with: TlogProof.magic.utf8) { proof = [] }
      done += UInt64(piece.count)
      if proof != nil {
        proof? += piece
        return (proof?.count ?? 0) <= TlogProof.limit
      }
      verifier.push(piece)
      manifest?.add(piece)
      bar.update("verify", done: done, total: total)
      return !verifier.isDecided
    }
    if let proof { return try answerProof(proof, file, invocation, device: device, witness: witness) }
  }
  bar.finish()
  let verdict = verifier.finish()
  if verdict.isValid { try manifest.take()?.finish(file) }
  try answer(verdict, file, invocation)
}

private func answer(_ verdict: AuditVerdict, _ file: String, _ invocation: Invocation) throws {
  guard verdict.isValid else {
    if invocation.json { invocation.console.say(verdict.json.encodedPretty()) }
    throw CommandFailure(
      "\(file): \(verdict)", hint: "keep this file as it is; it is evidence, and export the log again from the box",
      status: .data)
  }
  invocation.answer(verdict.json) { verdictText(verdict) }
}

func verdictText(_ verdict: AuditVerdict) -> String {
  let cosigned = verdict.cosignedSize.map { size in
    "the first \(size) entries" + (verdict.cosignedAt.map { ", at \(timestamp(Int64(clamping: $0)))" } ?? "")
  }
  func list(_ title: String, _ lines: [String]) -> String {
    lines.isEmpty ? "" : title + ":\n" + lines.map { "  - \($0)\n" }.joined()
  }
  return "\(verdict)\n"
    + facts([
      ("log", verdict.origin), ("entries", verdict.size.map { "\($0)" }), ("root", verdict.root?.hex),
      ("cosigned", cosigned ?? "never yet"),
    ]) + list("proven", verdict.proven) + list("not proven", verdict.notProven)
}

/// An export in another program's form: its records with the hashes and heads that stand in the file beside it.
private func verifyBeside(_ file: String, _ verifier: inout AuditVerifier) throws {
  let path = file + ".proof"
  func wrong(_ reason: String) -> CommandFailure { wrongProof(file, reason) }
  let proof = try LineReader(path)
  guard let trailer = AuditProofFile.trailer(in: try LineReader.last(path)) else {
    throw wrong("\(path) does not end as a proof does: it is cut off or of another file")
  }
  let lines = try LineReader(file)
  var waiting: [[UInt8]] = []
  var records: UInt64 = 0
  var (origin, isFirst) = ("", true)
  do {
    if trailer.format == .csv {
      guard try lines.next().map({ $0 + [0x0A] }) == trailer.format.preamble else {
        throw wrong("its first line is another")
      }
    }
    while !verifier.isDecided, let line = try proof.next() {
      if AuditProofFile.trailer(in: line) != nil { break }
      if isFirst { origin = (try? AuditExportHeader(line: line))?.origin ?? "" }
      defer { isFirst = false }
      try AuditProofFile.native(line, isFirst: isFirst) {
        if waiting.isEmpty, let next = try lines.next() {
          waiting = try trailer.format.verifiedRecords(in: next, origin: origin, version: trailer.version).reversed()
        }
        guard let record = waiting.popLast() else { return nil }
        records += 1
        return record
      } to: {
        verifier.push($0)
      }
    }
    // What the verifier found so far says more than that something is left over.
    if !verifier.isDecided, try lines.next() != nil || !waiting.isEmpty {
      var rest = verifier
      let verdict = rest.finish()
      if verdict.isValid { throw wrong("the file has more records than were signed") }
    }
    // Nobody signed the last line, but one that does not fit tells of a mix-up.
    if !verifier.isDecided, records != trailer.records {
      throw wrong("it has \(records) records, and \(path) is for \(trailer.records)")
    }
  } catch let error as AuditExportError { throw wrong("at record \(records + 1): \(error)") }
}

private func answerProof(
  _ bytes: [UInt8], _ file: String, _ invocation: Invocation, device: NoteVerifier?, witness: NoteVerifier?
) throws {
  let (proof, cosignedAt) = try verifyProof(bytes, file: file, device: device, witness: witness)
  let record = (try? JSONValue(parsing: proof.extra ?? [])) ?? .null
  let answer: JSONValue = [
    "valid": true, "origin": .string(proof.checkpoint.origin), "index": .integer(Int64(clamping: proof.index)),
    "size": .integer(Int64(clamping: proof.checkpoint.size)), "root": .string(proof.checkpoint.root.hex),
    "record": record,
    "cosignedAt": cosignedAt.map { .integer(Int64(clamping: $0)) } ?? .null,
  ]
  invocation.answer(answer) {
    let seen = cosignedAt.map { ", and the witness saw it at \(timestamp(Int64(clamping: $0)))" } ?? ""
    return "entry \(proof.index) is in the log that the box signed at \(proof.checkpoint.size) entries\(seen)\n"
      + recordTable([record])
  }
}

/// A folder in tlog-tiles' layout: its entries make the tree of its checkpoint.
private func verifyTiles(
  _ folder: String, _ invocation: Invocation, device: NoteVerifier?, witness: NoteVerifier?, known: SignedNote?
) throws {
  let note = try noteFile(folder + "/checkpoint")
  let checkpoint = try Checkpoint(noteText: note.text)
  guard let device else {
    throw CommandFailure(
      "a folder of tiles names no key: give the box's with --key", hint: "skerry status --json, keys.device",
      status: .usage)
  }
  // The entries in our own form, under the same head, are verified as any export is.
  var head = try SignedNote(text: note.text)
  head.signatures = note.signatures.filter { $0.keyID == device.keyID && $0.name == device.name }
  let cosigned = witness.flatMap { note.cosignatureTime(by: $0) == nil ? nil : note }
  var verifier = AuditVerifier(deviceKey: device, witness: witness, known: known)
  verifier.push(
    AuditExportHeader(
      origin: checkpoint.origin, size: checkpoint.size, checkpoint: head, cosigned: cosigned, device: device,
      witness: cosigned == nil ? nil : witness
    ).line + [0x0A])
  var manifest = try AuditManifestCheck(folder, .tiles)
  var index: UInt64 = 0
  while index < checkpoint.size, !verifier.isDecided {
    let width = min(checkpoint.size - index, TlogTiles.width)
    let bundle = try readFile(folder + "/" + TlogTiles.entries(index / TlogTiles.width, width: width), limit: 17 << 20)
    manifest?.add(bundle)
    var rest = bundle[...]
    while rest.count >= 2 {
      let length = Int(rest[rest.startIndex]) << 8 | Int(rest[rest.startIndex + 1])
      guard rest.count - 2 >= length else { break }
      verifier.push(AuditExportEntry.line(index: index, record: Array(rest.dropFirst(2).prefix(length))) + [0x0A])
      rest = rest.dropFirst(2 + length)
      index += 1
    }
    guard rest.isEmpty, index.isMultiple(of: TlogTiles.width) || index == checkpoint.size else {
      throw CommandFailure("\(folder): the bundle with entry \(index) is cut off or too long", status: .data)
    }
  }
  let verdict = verifier.finish()
  if verdict.isValid { try manifest.take()?.finish(folder, head: note.text) }
  try answer(verdict, folder, invocation)
}

private func noteFile(_ path: String) throws -> SignedNote {
  let bytes = try readFile(path, limit: SignedNote.maximumLength)
  do { return try SignedNote(parsing: bytes) } catch { throw CommandFailure("\(path): \(error)", status: .data) }
}

private func noteKey(_ option: String, _ invocation: Invocation) throws -> NoteVerifier? {
  guard let text = invocation.command.option(option) else { return nil }
  do {
    return try NoteVerifier(vkey: trimmed(text))
  } catch {
    throw CommandFailure("--\(option): \(error)", status: .data)
  }
}
