import Storage

/// The steps that make `agent.sqlite`, oldest first. A step that has shipped is never changed.
enum AgentDatabase {
  static let migrations: [Migration] = [
    Migration(1, AccessTable.schema)
  ]
}
