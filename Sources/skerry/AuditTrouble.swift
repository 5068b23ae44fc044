import CommandLine
import Trust

/// An audit log that can't be written: since when, why, and what to do; nil when all is well.
func auditTroubleText(_ trouble: JSONValue?) -> String? {
  guard let trouble, let cause = trouble["cause"]?.string else { return nil }
  let since = Readable.seconds(trouble["seconds"]?.integer ?? 0)
  let (what, remedy) = auditRemedy(cause)
  return "NOT WRITTEN for \(since): \(what). Until it is, every request is refused\n\(remedy)"
}

/// What the cause means, and what to do about it.
private func auditRemedy(_ cause: String) -> (what: String, remedy: String) {
  let byItself = "; service comes back by itself"
  return switch cause {
  case "full": ("the disk is full", "make room on the disk of the state directory" + byItself)
  case "readOnly": ("the disk is read-only", "see dmesg for the reason, and mount it writable" + byItself)
  case "stalled": ("the disk does not answer", "see dmesg for the reason" + byItself + " when it does")
  case "moved": ("log.jsonl was moved away", "put it back into the audit folder" + byItself)
  case "replaced": ("another file is in log.jsonl's place", "put the first one back" + byItself)
  case "removed": ("log.jsonl was removed", "it is being written again; find out who removed it")
  case "denied": ("the agent may not write it", "give the audit folder back to the agent's user" + byItself)
  case "damaged":
    (
      "somebody cut log.jsonl off",
      "this is tampering and does not mend itself: keep a copy of the audit folder and find out who had access; then put "
        + "the missing bytes back from a copy, or move the folder away and restart the agent to begin a new log"
    )
  default: ("reading or writing failed", "see dmesg; save the audit folder from a disk that dies" + byItself)
  }
}

extension Invocation {
  /// The box's status, or when even looking at it can't be put on record what anybody may know: why.
  func status() async throws -> JSONValue {
    do { return try await agent.json("GET", "/skerry/v1/status") } catch let failure as CommandFailure {
      guard failure.status == .tryLater, let health = try? await agent.json("GET", "/skerry/v1/health"),
        let text = auditTroubleText(health["audit"])
      else { throw failure }
      if json { console.say(health.encodedPretty()) }
      throw CommandFailure("the audit log is \(text)", status: .tryLater)
    }
  }
}
