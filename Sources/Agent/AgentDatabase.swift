import Storage

/// The steps that make `agent.sqlite`, oldest first. A step that has shipped is never changed.
enum AgentDatabase {
  static let migrations: [Migration] = [
    Migration(1, AccessTable.schema),
    Migration(2, ModelTable.schema),
    Migration(3, SyncTables.schema),
    Migration(4, AccessTable.ended),
    Migration(5, VersionFloors.schema),
    Migration(6, StoreMarks.schema + VoucherNote.schema),
    Migration(7, VariantTable.schema),
    Migration(8, UsageTable.schema),
    Migration(9, AccessTable.scopes),
    Migration(10, BreakGlassTable.schema),
    Migration(11, FleetPolicyRow.schema),
  ]
}
