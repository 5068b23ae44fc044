internal import Dispatch
import Glibc
import Synchronization

/// One step of a database's schema. Numbers rise from 1 without a gap; a step that was shipped is never changed.
public struct Migration: Sendable {
  public let number: Int
  public let sql: String

  public init(_ number: Int, _ sql: String) {
    self.number = number
    self.sql = sql
  }
}

/// A SQLite file: one writer and one reader, each a connection with its own serial queue, so that blocking calls
/// stay off Swift's cooperative pool and a read never waits for a write.
///
/// WAL mode with synchronous=FULL: when `write` returns, the change survives a power cut.
public final class Database: Sendable {
  public let path: String
  private let writer: Worker
  private let reader: Worker

  /// Opens or creates the file, checks it (`PRAGMA quick_check`) and brings its schema up to date, each migration
  /// in a transaction of its own. Throws `.newerSchema`, `.damaged`, `.readOnly`, `.full`, `.denied`.
  public init(path: String, migrations: [Migration]) throws(StorageError) {
    self.path = path
    try Database.create(path)
    let writing = try Connection(path: path)
    if writing.isReadOnly { throw .readOnly(path: path) }
    try Database.prepare(writing)
    try Database.check(writing)
    try Database.migrate(writing, migrations)
    let reading = try Connection(path: path)
    try Database.prepare(reading)
    try reading.execute("PRAGMA query_only = ON")
    writer = Worker(writing, label: "skerry.database.write")
    reader = Worker(reading, label: "skerry.database.read")
  }

  /// Runs the body in a transaction, alone. It commits when the body returns and rolls back when it throws. The
  /// body may not wait for anything but the database.
  public func write<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
    try await writer.run { connection in
      try connection.execute("BEGIN IMMEDIATE")
      do {
        let result = try body(connection)
        try connection.execute("COMMIT")
        return result
      } catch {
        // A full disk may have rolled back already.
        if connection.isInTransaction { try? connection.execute("ROLLBACK") }
        throw error
      }
    }
  }

  /// Runs the body over one consistent snapshot.
  public func read<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
    try await reader.run { connection in
      try connection.execute("BEGIN")
      defer { try? connection.execute("ROLLBACK") }
      return try body(connection)
    }
  }

  /// Waits for what runs, then closes the file. Calls after it throw `.closed`.
  public func close() {
    reader.close()
    writer.close()
  }

  /// SQLite would create the file with the umask's mode; ours holds secrets' digests and is the owner's alone.
  private static func create(_ path: String) throws(StorageError) {
    if DurableFile.exists(path) { return }
    _ = try OpenFile(path, O_RDWR | O_CREAT, mode: 0o600)
    try DurableFile.syncFolder(of: path)
  }

  private static func prepare(_ connection: Connection) throws(StorageError) {
    let mode = try connection.query("PRAGMA journal_mode = WAL").first?["journal_mode"]
    guard mode == .text("wal") else { throw .readOnly(path: connection.path) }
    try connection.execute("PRAGMA synchronous = FULL")
    try connection.execute("PRAGMA foreign_keys = ON")
    try connection.execute("PRAGMA trusted_schema = OFF")
    try connection.execute("PRAGMA journal_size_limit = 4194304")
  }

  private static func check(_ connection: Connection) throws(StorageError) {
    let rows = try connection.query("PRAGMA quick_check(1)")
    guard let first = rows.first, try first.text("quick_check") == "ok" else {
      let reason = try rows.first?.text("quick_check") ?? "the check gave no answer"
      throw .damaged(path: connection.path, reason: reason)
    }
  }

  private static func migrate(_ connection: Connection, _ migrations: [Migration]) throws(StorageError) {
    let known = migrations.map(\.number).max() ?? 0
    precondition(migrations.map(\.number) == Array(1..<(known + 1)), "migrations are numbered 1, 2, 3 …")
    let found = try Int(connection.query("PRAGMA user_version").first?.integer("user_version") ?? 0)
    guard found <= known else { throw .newerSchema(path: connection.path, found: found, known: known) }
    for migration in migrations where migration.number > found {
      try connection.execute("BEGIN IMMEDIATE")
      do {
        try connection.executeScript(migration.sql)
        try connection.execute("PRAGMA user_version = \(migration.number)")
        try connection.execute("COMMIT")
      } catch {
        if connection.isInTransaction { try? connection.execute("ROLLBACK") }
        throw error
      }
    }
  }
}

/// A connection and the one queue that touches it.
private final class Worker: @unchecked Sendable {
  private let queue: DispatchQueue
  private let path: String
  /// Only touched on the queue.
  private var connection: Connection?

  init(_ connection: Connection, label: String) {
    self.connection = connection
    path = connection.path
    queue = DispatchQueue(label: label)
  }

  func run<T: Sendable>(_ body: @escaping @Sendable (Connection) throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
      queue.async {
        continuation.resume(
          with: Result {
            guard let connection = self.connection else { throw StorageError.closed(path: self.path) }
            return try body(connection)
          })
      }
    }
  }

  func close() { queue.sync { connection = nil } }
}
