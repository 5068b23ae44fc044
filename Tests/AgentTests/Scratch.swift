import Fleet
import Glibc
import Synchronization
import Testing
import Trust

@testable import Agent

/// A folder of the test's own, gone when the test is.
final class Scratch: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/skt-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ScratchFailed() }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  struct ScratchFailed: Error {}

  deinit { remove(path) }

  private func remove(_ path: String) {
    if let folder = opendir(path) {
      while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { remove(path + "/" + name) }
      }
      closedir(folder)
      rmdir(path)
    } else {
      unlink(path)
    }
  }
}

/// Keeps audit records in memory, and can be told to fail.
final class Records: Sendable {
  struct Entry: Sendable {
    let kind: String
    let actor: String
    let fields: [String: JSONValue]
  }
  struct Broken: Error {}
  private let state = Mutex<(entries: [Entry], isBroken: Bool)>(([], false))

  var all: [Entry] { state.withLock(\.entries) }
  func of(_ kind: String) -> [Entry] { all.filter { $0.kind == kind } }
  func fail(_ isBroken: Bool) { state.withLock { $0.isBroken = isBroken } }

  var writer: AuditWriter {
    { kind, actor, fields in
      let mistakes = AuditSchema.settle(kind, fields).faults.filter(\.isMistake)
      #expect(mistakes.isEmpty, "a record of kind \(kind) is not as its schema says")
      try self.state.withLock { state in
        if state.isBroken { throw Broken() }
        state.entries.append(Entry(kind: kind.rawValue, actor: actor, fields: fields))
      }
    }
  }
}
