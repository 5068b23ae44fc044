import Host

/// What the database knows of the log: whoever cuts a tail off together with the heads that cover it has to change that, too.
extension SyncTables {
  private static let cosigned = "auditCosigned"

  /// Keeps how many entries the witness has cosigned.
  func remember(_ log: AuditLog) async throws {
    let size = log.cosigned().map { String($0.size) }
    if try await value(SyncTables.cosigned) != size { try await setValue(SyncTables.cosigned, size) }
  }

  /// Throws `AuditTampered` when the witness has cosigned more than there is, or something and the cosigned head is gone. An
  /// empty log was begun anew.
  func hold(_ log: AuditLog) async throws {
    if let known = try await value(SyncTables.cosigned).flatMap({ UInt64($0) }) {
      let size = log.head().size
      if size == 0 {
        Log.shared.warning("the audit log was begun anew", ["cosigned before": "\(known)"])
      } else if size < known {
        throw AuditTampered(index: size, reason: "it has \(size) entries, and the witness has cosigned \(known)")
      } else if log.cosigned() == nil {
        throw AuditTampered(index: nil, reason: "its file cosigned.json is missing")
      }
    }
    try await remember(log)
  }
}
