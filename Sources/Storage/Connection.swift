internal import CSQLite

/// One SQLite connection. It lives on its database's queue and is handed to the closures that run there; keep no
/// reference to it beyond them.
public final class Connection {
  let path: String
  private let handle: OpaquePointer
  private var statements: [String: OpaquePointer] = [:]

  init(path: String) throws(StorageError) {
    self.path = path
    var opened: OpaquePointer?
    let code = sqlite3_open_v2(
      path, &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
    guard code == SQLITE_OK, let opened else {
      sqlite3_close_v2(opened)
      throw Connection.error(code, "can't open", path: path, sql: "")
    }
    handle = opened
    sqlite3_busy_timeout(handle, 5000)
  }

  deinit { closeNow() }

  func closeNow() {
    for statement in statements.values { sqlite3_finalize(statement) }
    statements = [:]
    sqlite3_close_v2(handle)
  }

  /// The rows that the last INSERT, UPDATE or DELETE touched.
  public var changes: Int { Int(sqlite3_changes64(handle)) }

  public var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(handle) }

  var isReadOnly: Bool { sqlite3_db_readonly(handle, "main") == 1 }
  var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

  /// Runs one statement; its rows, if any, are dropped. `?` in the SQL takes the arguments in order.
  public func execute(_ sql: String, _ arguments: SQLValue...) throws(StorageError) {
    try run(sql, arguments) { _ in }
  }

  /// Runs one statement and gives all its rows: bound them with LIMIT where the table isn't small.
  public func query(_ sql: String, _ arguments: SQLValue...) throws(StorageError) -> [Row] {
    var rows: [Row] = []
    try run(sql, arguments) { rows.append($0) }
    return rows
  }

  /// The same with the arguments in an array.
  public func query(_ sql: String, arguments: [SQLValue]) throws(StorageError) -> [Row] {
    var rows: [Row] = []
    try run(sql, arguments) { rows.append($0) }
    return rows
  }

  /// Runs several statements separated by semicolons, without arguments.
  public func executeScript(_ sql: String) throws(StorageError) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    if code != SQLITE_OK { throw failure(code, sql) }
  }

  private func run(_ sql: String, _ arguments: [SQLValue], _ row: (Row) -> Void) throws(StorageError) {
    let statement = try prepared(sql)
    defer {
      sqlite3_reset(statement)
      sqlite3_clear_bindings(statement)
    }
    guard Int(sqlite3_bind_parameter_count(statement)) == arguments.count else {
      throw .statement(code: SQLITE_RANGE, message: "wrong number of arguments", sql: sql)
    }
    for (at, argument) in arguments.enumerated() {
      let code = Connection.bind(argument, to: statement, at: Int32(at + 1))
      if code != SQLITE_OK { throw failure(code, sql) }
    }
    var columns: [String: Int] = [:]
    while true {
      let code = sqlite3_step(statement)
      if code == SQLITE_DONE { return }
      guard code == SQLITE_ROW else { throw failure(code, sql) }
      let count = sqlite3_column_count(statement)
      if columns.isEmpty {
        for column in 0..<count {
          if let name = sqlite3_column_name(statement, column) { columns[String(cString: name)] = Int(column) }
        }
      }
      row(Row(columns: columns, values: (0..<count).map { Connection.value(of: statement, at: $0) }))
    }
  }

  private func prepared(_ sql: String) throws(StorageError) -> OpaquePointer {
    if let known = statements[sql] { return known }
    if statements.count >= 128 {
      for statement in statements.values { sqlite3_finalize(statement) }
      statements = [:]
    }
    var made: OpaquePointer?
    let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &made, nil)
    guard code == SQLITE_OK, let made else { throw failure(code == SQLITE_OK ? SQLITE_ERROR : code, sql) }
    statements[sql] = made
    return made
  }

  private static func bind(_ value: SQLValue, to statement: OpaquePointer, at index: Int32) -> Int32 {
    switch value {
    case .null: return sqlite3_bind_null(statement, index)
    case .integer(let number): return sqlite3_bind_int64(statement, index, number)
    case .real(let number): return sqlite3_bind_double(statement, index, number)
    case .text(var text):
      return text.withUTF8 { utf8 in
        utf8.withMemoryRebound(to: CChar.self) { chars in
          // An empty string may have no address, which SQLite would take for NULL.
          guard let start = chars.baseAddress else { return skerry_sqlite_bind_text(statement, index, "", 0) }
          return skerry_sqlite_bind_text(statement, index, start, Int32(chars.count))
        }
      }
    case .blob(let bytes):
      return bytes.withUnsafeBytes { skerry_sqlite_bind_blob(statement, index, $0.baseAddress, Int32($0.count)) }
    }
  }

  private static func value(of statement: OpaquePointer, at column: Int32) -> SQLValue {
    switch sqlite3_column_type(statement, column) {
    case SQLITE_INTEGER: return .integer(sqlite3_column_int64(statement, column))
    case SQLITE_FLOAT: return .real(sqlite3_column_double(statement, column))
    case SQLITE_TEXT:
      let start = sqlite3_column_text(statement, column)
      let count = Int(sqlite3_column_bytes(statement, column))
      return .text(String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self))
    case SQLITE_BLOB:
      let start = sqlite3_column_blob(statement, column)
      let count = Int(sqlite3_column_bytes(statement, column))
      return .blob(Array(UnsafeRawBufferPointer(start: start, count: count)))
    default: return .null
    }
  }

  private func failure(_ code: Int32, _ sql: String) -> StorageError {
    let message = sqlite3_errmsg(handle).map { String(cString: $0) } ?? "unknown"
    // SQLite says "input or output error" where the operating system knows that the disk is full.
    let system = sqlite3_system_errno(handle)
    if [SQLITE_IOERR, SQLITE_CANTOPEN].contains(code & 0xFF), system != 0 {
      return StorageError(errno: system, operation: "database input or output, code \(code),", path: path)
    }
    return Connection.error(code, message, path: path, sql: sql)
  }

  /// SQLite's result codes (https://www.sqlite.org/rescode.html) as our cases.
  private static func error(_ code: Int32, _ message: String, path: String, sql: String) -> StorageError {
    switch code & 0xFF {
    case SQLITE_FULL: .full(path: path)
    case SQLITE_READONLY: .readOnly(path: path)
    case SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_AUTH: .denied(path: path)
    case SQLITE_CORRUPT, SQLITE_NOTADB: .damaged(path: path, reason: message)
    case SQLITE_BUSY, SQLITE_LOCKED: .busy(path: path)
    case SQLITE_CONSTRAINT: .constraint(code: code, message: message)
    case SQLITE_IOERR: .system(path: path, operation: "database input or output, code \(code),", code: 5)
    default: .statement(code: code, message: message, sql: sql)
    }
  }
}
