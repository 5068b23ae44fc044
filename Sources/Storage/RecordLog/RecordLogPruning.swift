import Glibc
import Synchronization
import Trust

extension RecordLog {
  /// Lets go of the records before this index, which must be one that is there. Durable when it returns: `PATH.first` says
  /// first where the log begins from now on, then the room is given back. Call it off Swift's cooperative pool.
  public func prune(before index: UInt64) throws {
    try queue.sync {
      let (file, offsets) = durable.withLock { ($0.file, $0.offsets) }
      guard index > offsets.first, index < offsets.count else { return }
      var (at, offset) = offsets.nearest(to: index)
      try RecordScanner(file: file, from: offset, to: offsets.end).scan { record in
        if at == index { return false }
        at += 1
        offset += UInt64(record.count) + 1
        return true
      }
      guard at == index else { throw StorageError.damaged(path: path, reason: "record \(index) is not where it was") }
      let place: JSONValue = ["first": .integer(Int64(index)), "offset": .integer(Int64(offset))]
      try DurableFile.replace(path + ".first", with: place.encoded())
      durable.withLock { $0.offsets.forget(before: index, at: offset) }
      try file.erase(from: offsets.start, to: offset)
    }
  }

  /// Where the log begins; nil when nothing was pruned.
  static func firstRecord(_ path: String) throws -> Offsets? {
    let place = path + ".first"
    guard let bytes = try DurableFile.read(place, limit: 4096) else { return nil }
    guard let value = try? JSONValue(parsing: bytes), value.encoded() == bytes,
      let first = value["first"]?.integer.flatMap({ UInt64(exactly: $0) }),
      let offset = value["offset"]?.integer.flatMap({ UInt64(exactly: $0) })
    else { throw StorageError.damaged(path: place, reason: "it does not say where the log begins") }
    return Offsets(first: first, start: offset)
  }
}
