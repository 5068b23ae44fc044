import Testing
import Trust

@testable import Fleet

@Suite struct AuditSegmentTests {
  /// A log of small records with its tree.
  private struct Log {
    let records: [[UInt8]]
    let hashes: [Digest]

    init(_ count: Int) {
      records = (0..<count).map { Array("{\"n\":\($0),\"v\":1}".utf8) }
      var tree = MerkleFrontier()
      hashes = records.flatMap { tree.append(Merkle.leafHash($0)) }
    }

    func read(_ indexes: [UInt64]) -> [Digest] { indexes.map { hashes[Int($0)] } }
    func root(_ size: Int) throws -> Digest { try Merkle.root(size: UInt64(size), read: read) }

    func segment(from: Int, to: Int) throws -> [UInt8] {
      let header = AuditSegmentHeader(
        origin: "o", from: UInt64(from), to: UInt64(to), edge: try Merkle.edge(size: UInt64(from), read: read))
      return (from..<to).reduce(into: header.line + [0x0A]) { lines, index in
        lines += AuditExportEntry.line(index: UInt64(index), record: records[index]) + [0x0A]
      }
    }

    func verify(_ segment: [UInt8], recorded: Int?, to: Int, piece: Int = 50) throws {
      let root = try recorded.map { (UInt64($0), try self.root($0)) }
      var verifier = AuditSegmentVerifier(
        recorded: root, checkpoint: Checkpoint(origin: "o", size: UInt64(to), root: try self.root(to)))
      for start in stride(from: 0, to: segment.count, by: piece) {
        try verifier.push(segment[start..<min(start + piece, segment.count)])
      }
      try verifier.finish()
    }
  }

  @Test func everySegmentOfALogContinuesEveryHeadInIt() throws {
    let log = Log(20)
    for to in 1...20 {
      for from in 0...to {
        let segment = try log.segment(from: from, to: to)
        for recorded in 0...20 {
          if (from...to).contains(recorded) {
            try log.verify(segment, recorded: recorded == 0 ? nil : recorded, to: to)
          } else {
            #expect(throws: AuditSegmentError.self) { try log.verify(segment, recorded: recorded, to: to) }
          }
        }
      }
    }
  }

  @Test func aLogThatWasRewrittenIsNoContinuation() throws {
    let log = Log(12)
    var other = Log(12).records
    other[3] = Array("{\"n\":3,\"v\":2}".utf8)
    var tree = MerkleFrontier()
    for record in other { tree.append(Merkle.leafHash(record)) }
    var lines: [UInt8] = []
    for index in 2..<12 { lines += AuditExportEntry.line(index: UInt64(index), record: other[index]) + [0x0A] }
    let header = AuditSegmentHeader(
      origin: "o", from: 2, to: 12, edge: try Merkle.edge(size: 2, read: { log.read($0) }))
    var verifier = AuditSegmentVerifier(
      recorded: (8, try log.root(8)), checkpoint: Checkpoint(origin: "o", size: 12, root: tree.root))
    #expect(throws: AuditSegmentError.inconsistent) { try verifier.push(header.line + [0x0A] + lines) }
  }

  @Test func damageIsRefused() throws {
    let log = Log(9)
    let segment = try log.segment(from: 4, to: 9)
    for at in segment.indices {
      var damaged = segment
      damaged[at] ^= 1
      #expect(throws: AuditSegmentError.self, "byte \(at)") { try log.verify(damaged, recorded: 6, to: 9) }
    }
    for length in 0..<segment.count {
      #expect(throws: AuditSegmentError.self) { try log.verify(Array(segment.prefix(length)), recorded: 6, to: 9) }
    }
  }
}
