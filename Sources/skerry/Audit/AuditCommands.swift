import CommandLine
import Trust

let auditNoun = Noun(
  CommandSpec(
    "audit", "read, export and verify the audit log",
    subcommands: [
      CommandSpec(
        "list", "list entries, the newest unless told otherwise",
        options: [
          OptionSpec("from", value: "N", "the first entry to show; the log begins with 0"),
          OptionSpec("limit", short: "n", value: "N", "how many", default: "20"),
        ]),
      CommandSpec("head", "show the signed head of the log (C2SP tlog-checkpoint)"),
      auditSearchSpec,
      auditTailSpec,
      auditProveSpec,
      auditExportSpec,
      auditVerifySpec,
      auditSchemaSpec,
      auditContentSpec,
      auditEraseSpec,
    ]),
  [
    "list": auditList, "head": auditHead, "search": auditSearch, "tail": auditTail, "prove": auditProve,
    "export": auditExport, "verify": auditVerify, "schema": auditSchema,
    "content": auditContent, "erase": auditErase,
  ])

private let auditList: Runner = { invocation in
  let limit = try invocation.command.integer("limit", in: 1...10_000) ?? 20
  let from: Int64
  if let given = try invocation.command.integer("from", in: 0...Int64.max) {
    from = given
  } else {
    let size = try await Checkpoint(noteText: head(invocation).text).size
    from = max(0, Int64(clamping: size) - limit)
  }
  let query = [("from", "\(from)"), ("limit", "\(limit)")]
  let answer = try await invocation.agent.json("GET", "/skerry/v1/audit", query: query)
  invocation.answer(answer) {
    recordTable(answer.list("entries"))
  }
}

func recordTable(_ records: [JSONValue]) -> String {
  var table = Table("n", "time", "kind", "actor", "what", right: ["n"])
  for record in records {
    table.add(
      record.text("n"), record["t"]?.integer.map { timestamp($0 / 1000) } ?? "", record.text("kind"),
      record.text("actor"), recordDetails(record))
  }
  return table.render()
}

/// What a record says beyond the members that every one has.
func recordDetails(_ record: JSONValue) -> String {
  let common: Set = ["v", "n", "t", "kind", "actor"]
  let members = (record.object ?? [:]).filter { !common.contains($0.key) }.sorted { $0.key < $1.key }
  return members.map { "\($0.key)=\($0.value.plain)" }.joined(separator: " ")
}

private func head(_ invocation: Invocation) async throws -> SignedNote {
  let bytes = try await invocation.agent.bytes("GET", "/skerry/v1/audit/head")
  do {
    return try SignedNote(parsing: bytes)
  } catch {
    throw CommandFailure("the agent's answer is no signed head: \(error)", status: .data)
  }
}

private let auditHead: Runner = { invocation in
  let note = try await head(invocation)
  let checkpoint = try Checkpoint(noteText: note.text)
  let answer: JSONValue = [
    "origin": .string(checkpoint.origin), "size": .integer(Int64(clamping: checkpoint.size)),
    "root": .string(checkpoint.root.hex), "note": .string(note.encoded),
  ]
  invocation.answer(answer) { note.encoded }
}
