import Models
import Storage
import Synchronization
import Trust

/// The box's variants: kept in the database, looked up in memory. Each change is on record before it takes effect.
final class VariantStore: Sendable {
  private let database: Database
  private let audit: AuditWriter
  private let now: @Sendable () -> Int64
  private let changes = SerialGate()
  private let known: Mutex<[String: StoredVariant]>

  /// Throws `StorageError`.
  init(database: Database, audit: @escaping AuditWriter, now: @escaping @Sendable () -> Int64) async throws {
    self.database = database
    self.audit = audit
    self.now = now
    let all = try await database.read { try VariantTable.all($0) }
    known = Mutex(Dictionary(all.map { ($0.name, $0) }, uniquingKeysWith: { _, last in last }))
  }

  /// All of them, by name.
  var all: [StoredVariant] { known.withLock { $0.values.sorted { $0.name < $1.name } } }

  /// By its name as a caller writes it.
  func find(_ name: String) -> StoredVariant? {
    known.withLock { known in known.isEmpty ? nil : ModelVariant.name(name).flatMap { known[$0] } }
  }

  /// Makes a variant, or puts it in the place of the one that has its name. Throws `VariantError.tooMany`,
  /// `AccessFailure.auditUnavailable`, `StorageError`.
  func put(_ variant: ModelVariant, by caller: String) async throws {
    try await changes.run {
      let before = known.withLock { $0[variant.name] }
      guard before != nil || known.withLock({ $0.count }) < ModelVariant.Limit.variants else {
        throw VariantError.tooMany("variants", ModelVariant.Limit.variants)
      }
      let stored = StoredVariant(variant: variant, createdBy: caller, createdAt: now())
      try await record(before == nil ? "create" : "replace", variant, by: caller)
      try await database.write { try VariantTable.put(stored, $0) }
      known.withLock { $0[variant.name] = stored }
    }
  }

  /// False when there is none.
  func remove(_ name: String, by caller: String) async throws -> Bool {
    try await changes.run {
      guard let stored = find(name) else { return false }
      try await record("delete", stored.variant, by: caller)
      try await database.write { try VariantTable.remove(stored.name, $0) }
      known.withLock { $0[stored.name] = nil }
      return true
    }
  }

  /// The names, and a digest of the words: whoever reads the log sees that a variant changed and not what it says.
  private func record(_ event: String, _ variant: ModelVariant, by caller: String) async throws(AccessFailure) {
    let fields: [String: JSONValue] = [
      "event": .string(event), "variant": .string(variant.name), "base": .string(variant.base),
      "definition": .string(variant.definitionDigest.hex),
    ]
    do { try await audit(.variant, caller, fields) } catch { throw .auditUnavailable("\(error)") }
  }
}
