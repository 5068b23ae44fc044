import Fleet
import Trust
import Web

/// Hands the head of the audit log to the hub, which is its witness (C2SP tlog-witness, "add-checkpoint"), and keeps
/// the cosignature that comes back.
struct AuditPush: Sendable {
  let client: HubClient
  let log: AuditLog
  let witness: NoteVerifier

  private static let path = "/v1/audit/add-checkpoint"

  /// `cosigned` is the size that the hub says it has cosigned. Returns the size that it has cosigned now.
  func push(cosigned: UInt64) async throws -> UInt64 {
    let note = log.signedHead()
    guard let head = try? Checkpoint(noteText: note.text) else {
      throw SyncError.garbage(what: "the audit log", reason: "its head is no checkpoint")
    }
    if head.size == cosigned, log.cosigned()?.size == cosigned { return cosigned }

    var old = cosigned
    // "the client SHOULD … retry the request" with the size that a conflict names; once is enough for one writer.
    for _ in 0..<2 {
      guard old <= head.size else { throw SyncError.auditBehind(here: head.size, there: old) }
      let proof = old == 0 || old == head.size ? [] : try log.consistencyProof(old: old, new: head.size)
      let body = (["old \(old)"] + proof.map { Base64.encode($0.bytes) } + ["", note.encoded]).joined(separator: "\n")
      let response = try await client.post(
        AuditPush.path, body: Array(body.utf8), contentType: "text/plain; charset=utf-8")
      switch response.status {
      case 200:
        try keep(response.body, for: note)
        return head.size
      case 409 where HubClient.hubError(response) == nil:
        let text = String(decoding: response.body.prefix(32), as: UTF8.self)
        guard let size = UInt64(text.prefix { $0.isNumber }) else {
          throw SyncError.garbage(what: AuditPush.path, reason: "a conflict without a size")
        }
        // The same size again: the hub holds another head of it.
        if size == old { throw SyncError.auditInconsistent }
        old = size
      case 422: throw SyncError.auditInconsistent
      default: throw HubClient.refusal(response, to: AuditPush.path)
      }
    }
    throw SyncError.garbage(what: AuditPush.path, reason: "it names another size each time")
  }

  private func keep(_ answer: [UInt8], for note: SignedNote) throws {
    var cosigned = note
    let lines = String(decoding: answer.prefix(16_384), as: UTF8.self).split(separator: "\n")
    cosigned.signatures += lines.compactMap { NoteSignature(line: $0) }
    guard cosigned.cosignatureTime(by: witness) != nil else {
      throw SyncError.garbage(what: AuditPush.path, reason: "no valid cosignature of \(witness.name)")
    }
    try log.store(cosigned: cosigned, by: witness)
  }
}
