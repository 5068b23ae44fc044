import CommandLine
import Fleet
import Glibc
import Trust

let auditVerifySpec = CommandSpec(
  "verify", "verify an exported log, with no need of the box or the hub",
  discussion: """
    Checks every entry against the tree, the head against the device's signature, and the part that the hub has seen \
    against the hub's cosignature. Give the keys as you got them from elsewhere: without --key the export is checked \
    against the key that it names itself, which proves that it is whole, but not whose it is.

    Ends with status 65 when anything is not as it was signed, and names the first entry that isn't.
    """,
  arguments: [ArgumentSpec("FILE", "the export, or - for standard input", completion: .files)],
  options: [
    OptionSpec("key", value: "VKEY", "the device's note key (skerry status --json: keys.device)"),
    OptionSpec("witness", value: "VKEY", "the hub's witness key (skerry status --json: keys.witness)"),
  ],
  examples: [Example("skerry audit verify log.jsonl --key \"$KEY\"", "is this that box's log, as it wrote it?")])

let auditVerify: Runner = { invocation in
  var verifier = AuditVerifier(
    deviceKey: try noteKey("key", invocation), witness: try noteKey("witness", invocation))
  let file = invocation.argument("FILE")
  let bar = ProgressBar(hidden: invocation.json)
  var status = stat()
  let total = stat(file, &status) == 0 ? UInt64(max(0, status.st_size)) : 0
  var done: UInt64 = 0
  try readPieces(file) { piece in
    verifier.push(piece)
    done += UInt64(piece.count)
    bar.update("verify", done: done, total: total)
    return !verifier.isDecided
  }
  bar.finish()
  let verdict = verifier.finish()
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
  return "\(verdict)\n"
    + facts([
      ("log", verdict.origin), ("entries", verdict.size.map { "\($0)" }), ("root", verdict.root?.hex),
      ("cosigned", cosigned ?? "never yet"),
    ])
}

private func noteKey(_ option: String, _ invocation: Invocation) throws -> NoteVerifier? {
  guard let text = invocation.command.option(option) else { return nil }
  do {
    return try NoteVerifier(vkey: trimmed(text))
  } catch {
    throw CommandFailure("--\(option): \(error)", status: .data)
  }
}
