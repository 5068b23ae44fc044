import CommandLine
import Trust

let auditProveSpec = CommandSpec(
  "prove", "write the evidence for one entry (C2SP tlog-proof)",
  discussion: """
    The file holds the record, its way to the root of the tree, and the head that the hub cosigned, or for an entry that \
    is younger than the last sync the one that the box signed. It proves that record alone and says nothing of any other.
    """,
  arguments: [ArgumentSpec("N", "the entry's number")],
  options: [
    OptionSpec(
      "output", short: "o", value: "FILE", "where to write; without it, standard output", completion: .files)
  ],
  examples: [
    Example("skerry audit prove 4711 -o 4711.tlog-proof", "then anywhere: skerry audit verify 4711.tlog-proof --key …")
  ])

let auditProve: Runner = { invocation in
  let text = invocation.argument("N")
  guard let index = UInt64(text) else {
    throw CommandFailure("\(text) is no entry's number", hint: "see: skerry audit list", status: .usage)
  }
  let bytes = try await invocation.agent.bytes("GET", "/skerry/v1/audit/proof/\(index)")
  guard let proof = try? TlogProof(parsing: bytes), proof.index == index else {
    throw CommandFailure("the agent's answer is no proof of entry \(index)", status: .data)
  }
  guard let file = invocation.command.option("output"), file != "-" else { return invocation.console.say(bytes) }
  try OutputFile.write(bytes, to: file)
  let answer: JSONValue = [
    "file": .string(file), "index": .integer(Int64(clamping: index)),
    "size": .integer(Int64(clamping: proof.checkpoint.size)), "hashes": .integer(Int64(proof.path.count)),
    "cosigned": .bool(proof.head.signatures.count > 1),
  ]
  invocation.answer(answer) {
    let head = proof.head.signatures.count > 1 ? "cosigned" : "signed by the box, not cosigned yet"
    return "\(file): entry \(index) in the log of \(proof.checkpoint.size) entries, \(head)\n"
  }
}

/// What a tlog-proof says, once its parts agree and its signatures are those of the given keys. Throws `CommandFailure`.
func verifyProof(
  _ bytes: [UInt8], file: String, device: NoteVerifier?, witness: NoteVerifier?
) throws -> (proof: TlogProof, cosignedAt: UInt64?) {
  func wrong(_ reason: String) -> CommandFailure {
    CommandFailure("\(file): \(reason)", hint: "keep this file as it is; it is evidence", status: .data)
  }
  let proof: TlogProof
  do { proof = try TlogProof(parsing: bytes) } catch { throw wrong("\(error)") }
  guard let record = proof.extra else { throw wrong("it does not hold the record that it is about") }
  guard proof.proves(record) else { throw wrong("the record in it is NOT the log's entry \(proof.index)") }
  guard let device else {
    throw CommandFailure(
      "\(file): a proof is only as good as the signature on it: give the box's key with --key",
      hint: "the hub shows it, and so does the box: skerry status --json, keys.device", status: .usage)
  }
  guard proof.checkpoint.origin == device.name, proof.head.verified(by: device) else {
    throw wrong("its head is NOT signed with the key that you gave")
  }
  guard let witness else { return (proof, nil) }
  guard let time = proof.head.cosignatureTime(by: witness) else {
    throw wrong("its head is NOT cosigned with the witness key that you gave")
  }
  return (proof, time)
}
