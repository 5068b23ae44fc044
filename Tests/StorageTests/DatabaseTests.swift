import Glibc
import Storage
import Testing

@Suite struct DatabaseTests {
  let scratch = Scratch()
  static let notes = Migration(1, "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE) STRICT;")

  @Test func whatWasWrittenIsThereAgain() async throws {
    let path = scratch.file("a.sqlite")
    let first = try Database(path: path, migrations: [Self.notes])
    let id = try await first.write { connection in
      try connection.execute("INSERT INTO note (body) VALUES (?)", "one")
      return connection.lastInsertedRow
    }
    first.close()
    #expect(mode(path) == 0o600)
    let second = try Database(path: path, migrations: [Self.notes])
    let body = try await second.read {
      try $0.query("SELECT body FROM note WHERE id = ?", .integer(id)).first?.text("body")
    }
    #expect(body == "one")
    #expect(mode(path + "-wal") == 0o600)
  }

  @Test func aCommitIsOnTheDisk() async throws {
    let database = try Database(path: scratch.file("a.sqlite"), migrations: [])
    let settings = try await database.write { connection in
      try [
        connection.query("PRAGMA synchronous").first?.integer("synchronous"),
        connection.query("PRAGMA foreign_keys").first?.integer("foreign_keys"),
      ]
    }
    #expect(settings == [2, 1])
  }

  @Test func valuesComeBackAsTheyWent() async throws {
    let database = try Database(
      path: scratch.file("a.sqlite"), migrations: [Migration(1, "CREATE TABLE v (a ANY, b ANY, c ANY, d ANY, e ANY);")])
    let row = try await database.write { connection in
      try connection.execute(
        "INSERT INTO v VALUES (?, ?, ?, ?, ?)", "", .blob([]), .integer(.min), .text("a\0b ü"), nil)
      return try connection.query("SELECT * FROM v")[0]
    }
    #expect(try row.text("a") == "")
    #expect(try row.blob("b") == [])
    #expect(try row.integer("c") == .min)
    #expect(try row.text("d") == "a\0b ü")
    #expect(try row.optionalText("e") == nil)
    #expect(throws: StorageError.unexpectedValue(column: "a", wanted: "an integer")) { try row.integer("a") }
    #expect(throws: StorageError.unexpectedValue(column: "nosuch", wanted: "text")) { try row.optionalText("nosuch") }
  }

  @Test func aBodyThatThrowsLeavesNothing() async throws {
    struct Refused: Error {}
    let database = try Database(path: scratch.file("a.sqlite"), migrations: [Self.notes])
    await #expect(throws: Refused.self) {
      try await database.write { connection in
        try connection.execute("INSERT INTO note (body) VALUES ('x')")
        throw Refused()
      }
    }
    let count = try await database.read { try $0.query("SELECT count(*) AS n FROM note")[0].integer("n") }
    #expect(count == 0)
  }

  @Test func writersTakeTurnsAndReadersSeeWholeCommits() async throws {
    let database = try Database(path: scratch.file("a.sqlite"), migrations: [Self.notes])
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<8 {
        group.addTask {
          for number in 0..<5 {
            try await database.write { connection in
              // Two rows a commit: an odd count would be half of one.
              try connection.execute("INSERT INTO note (body) VALUES (?)", .text("\(writer)-\(number)-a"))
              try connection.execute("INSERT INTO note (body) VALUES (?)", .text("\(writer)-\(number)-b"))
            }
          }
        }
      }
      group.addTask {
        for _ in 0..<50 {
          let count = try await database.read { try $0.query("SELECT count(*) AS n FROM note")[0].integer("n") }
          #expect(count.isMultiple(of: 2))
        }
      }
      try await group.waitForAll()
    }
    let count = try await database.read { try $0.query("SELECT count(*) AS n FROM note")[0].integer("n") }
    #expect(count == 80)
  }

  @Test func aReaderCannotWrite() async throws {
    let database = try Database(path: scratch.file("a.sqlite"), migrations: [Self.notes])
    await #expect(throws: StorageError.self) {
      try await database.read { try $0.execute("INSERT INTO note (body) VALUES ('x')") }
    }
  }

  @Test func aConstraintIsTold() async throws {
    let database = try Database(path: scratch.file("a.sqlite"), migrations: [Self.notes])
    let error = await #expect(throws: StorageError.self) {
      try await database.write { connection in
        for _ in 0..<2 { try connection.execute("INSERT INTO note (body) VALUES ('secret')") }
      }
    }
    // 2067 is SQLITE_CONSTRAINT_UNIQUE.
    guard case .constraint(2067, let message) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(!message.contains("secret"))
  }

  @Test func aNewerSchemaIsRefusedUntouched() async throws {
    let path = scratch.file("a.sqlite")
    let newer = try Database(path: path, migrations: [Self.notes, Migration(2, "CREATE TABLE later (x);")])
    newer.close()
    let before = contents(path)
    let error = #expect(throws: StorageError.newerSchema(path: path, found: 2, known: 1)) {
      try Database(path: path, migrations: [Self.notes])
    }
    #expect(error?.description.contains("schema 2") == true)
    #expect(error?.description.contains("up to 1") == true)
    #expect(contents(path) == before)
  }

  @Test func aFailedMigrationLeavesTheOneBefore() async throws {
    let path = scratch.file("a.sqlite")
    let bad = Migration(2, "CREATE TABLE half (x); CREATE TABLE note (x);")
    #expect(throws: StorageError.self) { try Database(path: path, migrations: [Self.notes, bad]) }
    let good = Migration(2, "CREATE TABLE half (x); INSERT INTO half VALUES (7);")
    let database = try Database(path: path, migrations: [Self.notes, good])
    let x = try await database.read { try $0.query("SELECT x FROM half")[0].integer("x") }
    #expect(x == 7)
  }

  @Test func damageIsFoundOnOpening() async throws {
    let path = scratch.file("a.sqlite")
    let database = try Database(path: path, migrations: [Self.notes])
    try await database.write { connection in
      for number in 0..<400 {
        try connection.execute("INSERT INTO note (body) VALUES (?)", .text(String(repeating: "\(number) ", count: 20)))
      }
    }
    database.close()
    overwrite(path, at: 8192, with: sampleBytes(4096))
    let error = #expect(throws: StorageError.self) { try Database(path: path, migrations: [Self.notes]) }
    guard case .damaged(path, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func noDatabaseAtAllIsDamage() throws {
    let path = scratch.file("a.sqlite")
    overwrite(path, with: sampleBytes(10_000))
    let error = #expect(throws: StorageError.self) { try Database(path: path, migrations: [Self.notes]) }
    guard case .damaged(path, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func aMissingFolderIsTold() {
    #expect(throws: StorageError.notFound(path: scratch.file("no/a.sqlite"))) {
      try Database(path: scratch.file("no/a.sqlite"), migrations: [])
    }
  }

  @Test func closedIsClosed() async throws {
    let database = try Database(path: scratch.file("a.sqlite"), migrations: [])
    database.close()
    database.close()
    await #expect(throws: StorageError.closed(path: database.path)) { try await database.write { _ in } }
  }

  @Test(.enabled(if: SmallDisk.isPossible)) func aFullDiskRefusesAndRecovers() async throws {
    let disk = try SmallDisk(bytes: 1 << 20)
    let path = disk.file("a.sqlite")
    let database = try Database(path: path, migrations: [Self.notes])
    let stone = disk.file("stone")
    overwrite(stone, with: sampleBytes(300_000))
    var written = 0
    let error = await #expect(throws: StorageError.self) {
      for number in 0..<500 {
        try await database.write { connection in
          let text = String(repeating: "\(number) ", count: 4000)
          try connection.execute("INSERT INTO note (body) VALUES (?)", .text(text))
        }
        written += 1
      }
    }
    #expect(error == .full(path: path))
    #expect(error?.isTransient == true)
    unlink(stone)
    try await database.write { try $0.execute("INSERT INTO note (body) VALUES ('after')") }
    let count = try await database.read { try $0.query("SELECT count(*) AS n FROM note")[0].integer("n") }
    #expect(count == Int64(written + 1))
    database.close()
    _ = try Database(path: path, migrations: [Self.notes])
  }

  @Test(.enabled(if: SmallDisk.isPossible), arguments: [0, 4096, 20_000, 70_000])
  func openingOnAFullDiskSaysSo(free: Int) throws {
    let disk = try SmallDisk(bytes: 524_288)
    let path = disk.file("a.sqlite")
    try Database(path: path, migrations: [Self.notes]).close()
    overwrite(disk.file("stone"), with: sampleBytes(524_288))
    truncate(disk.file("stone"), off_t(max(0, Int(DurableFile.size(disk.file("stone")) ?? 0) - free)))
    do {
      try Database(path: path, migrations: [Self.notes]).close()
      #expect(free > 4096)
    } catch {
      #expect(error == .full(path: path))
    }
    unlink(disk.file("stone"))
    try Database(path: path, migrations: [Self.notes]).close()
  }

  @Test(.enabled(if: SmallDisk.isPossible)) func aReadOnlyDiskIsTold() throws {
    let disk = try SmallDisk(bytes: 1 << 20)
    let path = disk.file("a.sqlite")
    try Database(path: path, migrations: [Self.notes]).close()
    disk.setReadOnly(true)
    #expect(throws: StorageError.readOnly(path: path)) { try Database(path: path, migrations: [Self.notes]) }
    #expect(throws: StorageError.readOnly(path: disk.file("new"))) {
      try Database(path: disk.file("new"), migrations: [])
    }
  }

  @Test func aKillLosesNothingThatWasTold() async throws {
    let path = scratch.file("a.sqlite")
    let told = scratch.file("told")
    await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, told = told as String] in
      let database = try Database(path: path, migrations: [Self.notes])
      for number in 1... {
        try await database.write { connection in
          try connection.execute("INSERT INTO note (body) VALUES (?)", .text("\(number)"))
        }
        try DurableFile.replace(told, with: Array("\(number)".utf8))
        // In the middle of the next transaction.
        if number == 20 {
          try await database.write { connection in
            try connection.execute("INSERT INTO note (body) VALUES ('half')")
            kill(getpid(), SIGKILL)
          }
        }
      }
    }
    let database = try Database(path: path, migrations: [Self.notes])
    let bodies = try await database.read {
      try $0.query("SELECT body FROM note ORDER BY id").map { try $0.text("body") }
    }
    #expect(bodies == (1...20).map(String.init))
    #expect(contents(told).map { String(decoding: $0, as: UTF8.self) } == "20")
  }
}
