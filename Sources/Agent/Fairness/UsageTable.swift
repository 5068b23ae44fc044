import Storage
import Trust

/// Who used how much of which model on one day.
struct UsageRow: Sendable, Hashable {
  struct Key: Sendable, Hashable {
    /// Days since 1970-01-01, UTC, by the time in the audit records.
    var day: Int64
    var caller: String
    var role: String
    var model: String
    var sha256: String
  }
  struct Sums: Sendable, Hashable {
    var completed: Int64 = 0
    var failed: Int64 = 0
    var cancelled: Int64 = 0
    var promptTokens: Int64 = 0
    var cachedTokens: Int64 = 0
    var completionTokens: Int64 = 0
    var milliseconds: Int64 = 0

    static func += (sums: inout Sums, other: Sums) {
      sums.completed += other.completed
      sums.failed += other.failed
      sums.cancelled += other.cancelled
      sums.promptTokens += other.promptTokens
      sums.cachedTokens += other.cachedTokens
      sums.completionTokens += other.completionTokens
      sums.milliseconds += other.milliseconds
    }
  }
}

extension UsageRow.Key {
  static let dayLength: Int64 = 86_400_000

  /// Nil for a record of another kind.
  init?(record: JSONValue) {
    guard record["kind"]?.string == "inference", let time = record["t"]?.integer else { return nil }
    self.init(
      day: time >= 0 ? time / UsageRow.Key.dayLength : 0, caller: record["actor"]?.string ?? "",
      role: record["role"]?.string ?? "", model: record["model"]?.string ?? "", sha256: record["sha256"]?.string ?? "")
  }
}

extension UsageRow.Sums {
  init(record: JSONValue) {
    func number(_ name: String) -> Int64 { min(max(record[name]?.integer ?? 0, 0), 1 << 40) }
    switch record["outcome"]?.string {
    case "completed": completed = 1
    case "cancelled": cancelled = 1
    default: failed = 1
    }
    promptTokens = number("promptTokens")
    cachedTokens = number("cachedTokens")
    completionTokens = number("completionTokens")
    milliseconds = number("milliseconds")
  }
}

/// Usage in agent.sqlite: sums by day, what counts against daily limits, and how far the audit log was read for both.
enum UsageTable {
  static let schema = """
    CREATE TABLE usage (
      day INTEGER NOT NULL,
      caller TEXT NOT NULL,
      role TEXT NOT NULL,
      model TEXT NOT NULL,
      sha256 TEXT NOT NULL,
      completed INTEGER NOT NULL,
      failed INTEGER NOT NULL,
      cancelled INTEGER NOT NULL,
      prompt_tokens INTEGER NOT NULL,
      cached_tokens INTEGER NOT NULL,
      completion_tokens INTEGER NOT NULL,
      milliseconds INTEGER NOT NULL,
      PRIMARY KEY (day, caller, role, model, sha256)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE usage_hours (
      scope TEXT NOT NULL,
      name TEXT NOT NULL,
      hour INTEGER NOT NULL,
      tokens INTEGER NOT NULL,
      PRIMARY KEY (scope, name, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE usage_state (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      cursor INTEGER NOT NULL,
      boot TEXT NOT NULL,
      monotonic REAL NOT NULL,
      unix INTEGER NOT NULL,
      lasting REAL NOT NULL
    ) STRICT;
    """

  /// Callers that are told apart on one day; the others go by one name.
  static let mostCallers = 1000
  static let others = "(others)"

  struct Hour: Sendable, Hashable {
    /// `caller` or `role`.
    let scope: String
    let name: String
    let hour: Int64
  }

  static func state(_ connection: Connection) throws -> (cursor: UInt64, mark: LastingTime.Mark)? {
    guard let row = try connection.query("SELECT * FROM usage_state").first else { return nil }
    return (
      UInt64(clamping: try row.integer("cursor")),
      LastingTime.Mark(
        boot: try row.text("boot"), monotonic: try row.real("monotonic"), unix: try row.integer("unix"),
        lasting: try row.real("lasting"))
    )
  }

  static func setState(_ cursor: UInt64, _ mark: LastingTime.Mark, _ connection: Connection) throws {
    try connection.execute(
      "INSERT OR REPLACE INTO usage_state (id, cursor, boot, monotonic, unix, lasting) VALUES (1, ?, ?, ?, ?, ?)",
      SQLValue(cursor), .text(mark.boot), .real(mark.monotonic), .integer(mark.unix), .real(mark.lasting))
  }

  static func add(_ key: UsageRow.Key, _ sums: UsageRow.Sums, _ connection: Connection) throws {
    var caller = key.caller
    let known = try connection.query(
      "SELECT 1 FROM usage WHERE day = ? AND caller = ? LIMIT 1", .integer(key.day), .text(caller))
    if known.isEmpty {
      let row = try connection.query("SELECT count(DISTINCT caller) AS n FROM usage WHERE day = ?", .integer(key.day))
      if try row.first?.integer("n") ?? 0 >= Int64(mostCallers) { caller = others }
    }
    try connection.execute(
      """
      INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET completed = completed + excluded.completed, failed = failed + excluded.failed,
        cancelled = cancelled + excluded.cancelled, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        cached_tokens = cached_tokens + excluded.cached_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens,
        milliseconds = milliseconds + excluded.milliseconds
      """,
      .integer(key.day), .text(caller), .text(key.role), .text(key.model), .text(key.sha256), .integer(sums.completed),
      .integer(sums.failed), .integer(sums.cancelled), .integer(sums.promptTokens), .integer(sums.cachedTokens),
      .integer(sums.completionTokens), .integer(sums.milliseconds))
  }

  static func add(_ hour: Hour, tokens: Int64, _ connection: Connection) throws {
    try connection.execute(
      "INSERT INTO usage_hours VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens",
      .text(hour.scope), .text(hour.name), .integer(hour.hour), .integer(tokens))
  }

  static func hours(_ connection: Connection) throws -> [(hour: Hour, tokens: Int64)] {
    try connection.query("SELECT * FROM usage_hours").map { row in
      (
        Hour(scope: try row.text("scope"), name: try row.text("name"), hour: try row.integer("hour")),
        try row.integer("tokens")
      )
    }
  }

  static func prune(daysBefore day: Int64, hoursBefore hour: Int64, _ connection: Connection) throws {
    try connection.execute("DELETE FROM usage WHERE day < ?", .integer(day))
    try connection.execute("DELETE FROM usage_hours WHERE hour < ?", .integer(hour))
  }

  /// Sums over the days from `since` to `until`, grouped by columns of the key. The groups with most tokens first, unless
  /// the day is among them.
  static func sums(
    since: Int64, until: Int64, by columns: [UsageColumn], caller: String?, limit: Int, _ connection: Connection
  ) throws -> [(group: [String], sums: UsageRow.Sums)] {
    let names = columns.map(\.rawValue)
    let list = names.map { "CAST(\($0) AS TEXT) AS g_\($0), " }.joined()
    var sql = "SELECT \(list)"
    sql +=
      "sum(completed) AS completed, sum(failed) AS failed, sum(cancelled) AS cancelled, "
      + "sum(prompt_tokens) AS prompt, sum(cached_tokens) AS cached, sum(completion_tokens) AS completion, "
      + "sum(milliseconds) AS milliseconds FROM usage WHERE day BETWEEN ? AND ?"
    var arguments: [SQLValue] = [.integer(since), .integer(until)]
    if let caller {
      sql += " AND caller = ?"
      arguments.append(.text(caller))
    }
    if !names.isEmpty {
      sql += " GROUP BY \(names.joined(separator: ", "))"
      sql += " ORDER BY \(columns.contains(.day) ? "day, " : "")sum(prompt_tokens) + sum(completion_tokens) DESC, "
      sql += names.joined(separator: ", ")
    }
    sql += " LIMIT \(limit)"
    return try connection.query(sql, arguments: arguments).compactMap { row in
      guard let completed = try row.optionalInteger("completed") else { return nil }
      var sums = UsageRow.Sums()
      sums.completed = completed
      sums.failed = try row.integer("failed")
      sums.cancelled = try row.integer("cancelled")
      sums.promptTokens = try row.integer("prompt")
      sums.cachedTokens = try row.integer("cached")
      sums.completionTokens = try row.integer("completion")
      sums.milliseconds = try row.integer("milliseconds")
      return (try names.map { try row.text("g_\($0)") }, sums)
    }
  }
}

/// What usage can be grouped by.
enum UsageColumn: String, Sendable, CaseIterable {
  case day, caller, role, model, sha256
}
