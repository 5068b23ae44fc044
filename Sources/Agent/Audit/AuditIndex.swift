import Fleet
import Storage
import Synchronization
import Trust

typealias RecordLogEntry = RecordLog.Entry

/// What stands where in the log, so that a search reads only the parts in which it can find something: for each block of
/// records the hashes of all subjects, models, outcomes and kinds in it, and the span of their times. It is made
/// from the records when the log is opened and grows with it; ten million records take a few megabytes.
///
/// A block may be said to hold what it does not hold (a hash that two words share, a record whose commit failed), never the
/// other way round.
final class AuditIndex: Sendable {
  /// Records in a block.
  static let block: UInt64 = 512

  private struct Block {
    var keys: [UInt32] = []
    var earliest = Int64.max
    var latest = Int64.min

    mutating func add(_ scan: AuditRecordScan) {
      for key in scan.keys where !keys.contains(key) { keys.append(key) }
      earliest = min(earliest, scan.time)
      latest = max(latest, scan.time)
    }
  }

  private struct State {
    /// The number of the first block; above 0 when older records were pruned.
    var first: UInt64 = 0
    var blocks: [Block] = []

    /// Where the block of this number is.
    mutating func place(_ number: UInt64) -> Int {
      if blocks.isEmpty { first = number }
      while UInt64(blocks.count) <= number - first { blocks.append(Block()) }
      return Int(number - first)
    }
  }

  private let state = Mutex(State())

  /// The log's hooks with the index behind them.
  func hooks(with hooks: RecordLog.Hooks) -> RecordLog.Hooks {
    var both = hooks
    both.onOpen = { batch in
      let take = try hooks.onOpen(batch)
      // A batch ends where a block does.
      var block = Block()
      batch.withEach { block.add(AuditRecordScan($0)) }
      return { [block] in
        take()
        self.state.withLock { $0.blocks[$0.place(batch.first / Self.block)] = block }
      }
    }
    both.write = { entries in
      try hooks.write(entries)
      self.add(entries)
    }
    return both
  }

  private func add(_ entries: [RecordLog.Entry]) {
    state.withLock { state in
      for entry in entries {
        let at = state.place(entry.index / Self.block)
        entry.record.withUnsafeBytes { state.blocks[at].add(AuditRecordScan($0)) }
      }
    }
  }

  /// The first records of the blocks that may hold what is asked for, the newest block first.
  func blocks(for selection: AuditSelection) -> [UInt64] {
    let wanted = AuditRecordScan.keys(of: selection)
    return state.withLock { state in
      state.blocks.indices.reversed().compactMap { at in
        let block = state.blocks[at]
        guard block.latest >= selection.since ?? .min, block.earliest < selection.until ?? .max,
          wanted.allSatisfy(block.keys.contains)
        else { return nil }
        return (state.first + UInt64(at)) * Self.block
      }
    }
  }
}

extension AuditLog {
  /// The newest records that are asked for, the newest first: `count` of them at most, of those before `end`.
  public func search(_ selection: AuditSelection, count: Int, before end: UInt64 = .max) throws -> [JSONValue] {
    var found: [JSONValue] = []
    let wanted = AuditRecordScan.keys(of: selection)
    // Blocks of before the last pruning are still in the index.
    let kept = log.first
    for first in index.blocks(for: selection) where first < end && first + AuditIndex.block > kept {
      for entry in try log.read(from: max(first, kept), limit: Int(AuditIndex.block)).reversed() {
        guard entry.index < end, entry.index < first + AuditIndex.block else { continue }
        let keys = entry.record.withUnsafeBytes { AuditRecordScan($0).keys }
        guard wanted.allSatisfy(keys.contains) else { continue }
        let record = try JSONValue(parsing: entry.record)
        guard selection.matches(record) else { continue }
        found.append(record)
        if found.count == count { return found }
      }
    }
    return found
  }
}

/// A record's members that it can be found by, without reading all of it as JSON: hashes of their canonical text.
struct AuditRecordScan {
  private(set) var keys: [UInt32] = []
  private(set) var time: Int64 = 0

  init(_ record: UnsafeRawBufferPointer) {
    keys.reserveCapacity(6)
    record.withMemoryRebound(to: UInt8.self) { bytes in
      var at = 0
      var depth = 0
      var name: Range<Int>?
      while at < bytes.count {
        switch bytes[at] {
        case 0x22:
          let start = at + 1
          at = Self.endOfString(bytes, start)
          let text = start..<min(at, bytes.count)
          if depth == 1 {
            if let member = name {
              take(bytes, member, text)
              name = nil
            } else {
              name = text
            }
          }
        case 0x7B, 0x5B:
          depth += 1
          if depth == 2 { name = nil }
        case 0x7D, 0x5D: depth -= 1
        case 0x2C: if depth == 1 { name = nil }
        case 0x3A where depth == 1: takeNumber(bytes, name, at + 1)
        default: break
        }
        at += 1
      }
    }
  }

  /// The hashes that a record of this selection must have.
  static func keys(of selection: AuditSelection) -> [UInt32] {
    func key(_ letter: Unicode.Scalar, _ text: String?) -> UInt32? {
      guard let text else { return nil }
      let encoded = JSONValue.string(text).encoded().dropFirst().dropLast()
      return hash(letter, encoded)
    }
    return [
      key("s", selection.subject), key("m", selection.model), key("o", selection.outcome), key("k", selection.kind),
    ].compactMap { $0 }
  }

  private mutating func take(_ bytes: UnsafeBufferPointer<UInt8>, _ name: Range<Int>, _ text: Range<Int>) {
    let value = bytes[text]
    if Self.equals(bytes[name], "kind") {
      keys.append(Self.hash("k", value))
    } else if Self.equals(bytes[name], "actor") {
      keys.append(Self.hash("s", value))
      if value.last == 0x29, let bracket = value.firstIndex(of: 0x28) {
        keys.append(Self.hash("s", value[..<bracket]))
      }
    } else if Self.equals(bytes[name], "model") {
      keys.append(Self.hash("m", value))
    } else if Self.equals(bytes[name], "outcome") {
      keys.append(Self.hash("o", value))
    } else if Self.equals(bytes[name], "resource"), value.starts(with: "model:".utf8) {
      keys.append(Self.hash("m", value.dropFirst(6).prefix { $0 != 0x3A }))
    }
  }

  /// `"allowed":true` and `"t":…`, behind the colon.
  private mutating func takeNumber(_ bytes: UnsafeBufferPointer<UInt8>, _ name: Range<Int>?, _ at: Int) {
    guard let name, at < bytes.count, bytes[at] != 0x22 else { return }
    if Self.equals(bytes[name], "allowed") {
      keys.append(Self.hash("o", Array((bytes[at] == 0x74 ? "allowed" : "denied").utf8)))
    } else if Self.equals(bytes[name], "t") {
      var end = at
      time = 0
      while end < bytes.count, end < at + 18, bytes[end] >= 0x30, bytes[end] <= 0x39 {
        time = time * 10 + Int64(bytes[end] - 0x30)
        end += 1
      }
    }
  }

  private static func endOfString(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
    var at = start
    while at < bytes.count, bytes[at] != 0x22 { at += bytes[at] == 0x5C ? 2 : 1 }
    return at
  }

  private static func equals(_ bytes: Slice<UnsafeBufferPointer<UInt8>>, _ text: StaticString) -> Bool {
    bytes.count == text.utf8CodeUnitCount
      && zip(bytes, UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)).allSatisfy { $0 == $1 }
  }

  /// FNV-1a over the member's letter and its text.
  private static func hash(_ letter: Unicode.Scalar, _ text: some Sequence<UInt8>) -> UInt32 {
    var hash: UInt32 = 2_166_136_261 ^ letter.value
    for byte in text { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    return hash
  }
}
