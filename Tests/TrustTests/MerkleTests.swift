import Testing

@testable import Trust

/// RFC 6962 §2.1 to the letter: slow, recursive, over all leaves.
private enum Naive {
  static func split(_ count: Int) -> Int {
    var k = 1
    while k * 2 < count { k *= 2 }
    return k
  }

  static func root(_ leaves: ArraySlice<Digest>) -> Digest {
    guard let only = leaves.first else { return Digest(of: []) }
    if leaves.count == 1 { return only }
    let middle = leaves.startIndex + split(leaves.count)
    return Digest(of: [1] + root(leaves[..<middle]).bytes + root(leaves[middle...]).bytes)
  }

  static func path(_ m: Int, _ leaves: ArraySlice<Digest>) -> [Digest] {
    if leaves.count == 1 { return [] }
    let k = split(leaves.count)
    let middle = leaves.startIndex + k
    return m < k
      ? path(m, leaves[..<middle]) + [root(leaves[middle...])]
      : path(m - k, leaves[middle...]) + [root(leaves[..<middle])]
  }

  static func proof(_ m: Int, _ leaves: ArraySlice<Digest>, known: Bool = true) -> [Digest] {
    if m == leaves.count { return known ? [] : [root(leaves)] }
    let k = split(leaves.count)
    let middle = leaves.startIndex + k
    return m <= k
      ? proof(m, leaves[..<middle], known: known) + [root(leaves[middle...])]
      : proof(m - k, leaves[middle...], known: false) + [root(leaves[..<middle])]
  }
}

/// A tree as the audit log keeps it: its leaves and the file of stored hashes.
private struct Tree {
  var leaves: [Digest] = []
  var stored: [Digest] = []
  var frontier = MerkleFrontier()

  init(_ records: [[UInt8]]) throws {
    for record in records { try append(record) }
  }

  mutating func append(_ record: [UInt8]) throws {
    let leaf = Merkle.leafHash(record)
    let read = reader
    let added = try Merkle.hashesToStore(index: UInt64(leaves.count), leaf: leaf, read: read)
    #expect(frontier.append(leaf) == added)
    stored += added
    leaves.append(leaf)
  }

  var reader: Merkle.Reader {
    let stored = stored
    return { indexes in indexes.map { stored[Int($0)] } }
  }
}

private func digests(_ hex: String...) -> [Digest] { hex.compactMap { Digest(hex: $0) } }

@Suite struct MerkleTests {
  // The test tree of google/certificate-transparency.
  static let records = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
  ]
  static let roots = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
  ]

  @Test func rootsOfTheReferenceTree() throws {
    var tree = try Tree([])
    for size in 0...8 {
      #expect(try Merkle.root(size: UInt64(size), read: tree.reader).hex == Self.roots[size])
      #expect(tree.frontier.root.hex == Self.roots[size])
      if size < 8 { try tree.append(Hex.decode(Self.records[size]) ?? []) }
    }
  }

  @Test func proofsOfTheReferenceTree() throws {
    let tree = try Tree(Self.records.map { try #require(Hex.decode($0)) })
    let inclusion = try Merkle.inclusionProof(index: 0, size: 8, read: tree.reader)
    #expect(
      inclusion
        == digests(
          "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
          "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"))
    #expect(
      try Merkle.inclusionProof(index: 5, size: 8, read: tree.reader)
        == digests(
          "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
          "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
          "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"))
    #expect(
      try Merkle.consistencyProof(old: 2, new: 5, read: tree.reader)
        == digests(
          "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
          "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"))
  }

  @Test func storedHashIndexesAsInGo() {
    // The layout of a tree of 8: level 0 at 0, 1, 3, 4, 7, 8, 10, 11; level 1 at 2, 5, 9, 12; level 2 at 6, 13; 14.
    #expect((0..<8).map { Merkle.storedHashIndex(level: 0, n: $0) } == [0, 1, 3, 4, 7, 8, 10, 11])
    #expect((0..<4).map { Merkle.storedHashIndex(level: 1, n: $0) } == [2, 5, 9, 12])
    #expect((0..<2).map { Merkle.storedHashIndex(level: 2, n: $0) } == [6, 13])
    #expect(Merkle.storedHashIndex(level: 3, n: 0) == 14)
    #expect((0...8).map { Merkle.storedHashCount(treeSize: $0) } == [0, 1, 3, 4, 7, 8, 10, 11, 15])
  }

  @Test func everyTreeUpToSeventyAgreesWithTheNaiveOne() throws {
    var random = SystemRandomNumberGenerator()
    var tree = try Tree([])
    for size in 1...70 {
      try tree.append((0..<Int.random(in: 0...40, using: &random)).map { _ in .random(in: 0...255, using: &random) })
      let leaves = tree.leaves[...]
      let root = Naive.root(leaves)
      #expect(try Merkle.root(size: UInt64(size), read: tree.reader) == root)
      #expect(tree.frontier.root == root && tree.frontier.size == size)
      #expect(tree.stored.count == Merkle.storedHashCount(treeSize: UInt64(size)))
      for index in 0..<size {
        let proof = try Merkle.inclusionProof(index: UInt64(index), size: UInt64(size), read: tree.reader)
        #expect(proof == Naive.path(index, leaves))
        #expect(
          Merkle.verifyInclusion(
            leaf: leaves[index], index: UInt64(index), size: UInt64(size), proof: proof, root: root))
      }
      for old in 1...size {
        let proof = try Merkle.consistencyProof(old: UInt64(old), new: UInt64(size), read: tree.reader)
        #expect(proof == Naive.proof(old, leaves))
        #expect(
          Merkle.verifyConsistency(
            oldSize: UInt64(old), oldRoot: Naive.root(leaves[..<old]), newSize: UInt64(size), newRoot: root,
            proof: proof))
      }
    }
  }

  @Test func aChangedProofNeverVerifies() throws {
    let tree = try Tree((0..<37).map { [UInt8($0)] })
    let root = tree.frontier.root
    let other = Digest(of: [9])
    for index in stride(from: UInt64(0), to: 37, by: 3) {
      let proof = try Merkle.inclusionProof(index: index, size: 37, read: tree.reader)
      let leaf = tree.leaves[Int(index)]
      func verifies(_ leaf: Digest, _ index: UInt64, _ proof: [Digest], _ root: Digest) -> Bool {
        Merkle.verifyInclusion(leaf: leaf, index: index, size: 37, proof: proof, root: root)
      }
      #expect(!verifies(other, index, proof, root))
      #expect(!verifies(leaf, index, proof, other))
      #expect(!verifies(leaf, (index + 1) % 37, proof, root))
      #expect(!verifies(leaf, index, proof + [other], root))
      #expect(!verifies(leaf, index, proof.dropLast(), root))
      #expect(!verifies(leaf, 37, proof, root))
      for at in proof.indices {
        var changed = proof
        changed[at] = other
        #expect(!verifies(leaf, index, changed, root))
      }
    }
    for old in UInt64(1)..<37 {
      let proof = try Merkle.consistencyProof(old: old, new: 37, read: tree.reader)
      let oldRoot = try Merkle.root(size: old, read: tree.reader)
      func verifies(_ oldRoot: Digest, _ proof: [Digest], _ newRoot: Digest) -> Bool {
        Merkle.verifyConsistency(oldSize: old, oldRoot: oldRoot, newSize: 37, newRoot: newRoot, proof: proof)
      }
      #expect(verifies(oldRoot, proof, root))
      #expect(!verifies(other, proof, root))
      #expect(!verifies(oldRoot, proof, other))
      #expect(!verifies(oldRoot, proof.dropLast(), root))
      #expect(!verifies(oldRoot, proof + [other], root))
      #expect(!verifies(oldRoot, [], root))
    }
  }

  @Test func edgesOfConsistency() throws {
    let tree = try Tree([[1], [2], [3]])
    let root = tree.frontier.root
    let other = Digest(of: [9])
    #expect(try Merkle.consistencyProof(old: 0, new: 3, read: tree.reader).isEmpty)
    #expect(
      Merkle.verifyConsistency(oldSize: 0, oldRoot: Merkle.emptyRoot, newSize: 3, newRoot: root, proof: []))
    #expect(!Merkle.verifyConsistency(oldSize: 0, oldRoot: other, newSize: 3, newRoot: root, proof: []))
    #expect(!Merkle.verifyConsistency(oldSize: 3, oldRoot: other, newSize: 3, newRoot: root, proof: []))
    #expect(!Merkle.verifyConsistency(oldSize: 4, oldRoot: root, newSize: 3, newRoot: root, proof: []))
    #expect(throws: MerkleError.outOfRange) { try Merkle.consistencyProof(old: 4, new: 3, read: tree.reader) }
    #expect(throws: MerkleError.outOfRange) { try Merkle.inclusionProof(index: 3, size: 3, read: tree.reader) }
    #expect(throws: MerkleError.missingHashes) { try Merkle.root(size: 3) { _ in [] } }
  }
}

/// The vectors of transparency-dev/merkle, and what it changes in each: nothing that was changed may verify.
@Suite struct MerkleVectorTests {
  private struct Inclusion: Sendable {
    let index: UInt64
    let size: UInt64
    let proof: [String]
  }
  private struct Consistency: Sendable {
    let old: UInt64
    let new: UInt64
    let proof: [String]
  }

  private static let inclusion = [
    Inclusion(index: 0, size: 1, proof: []),
    Inclusion(
      index: 0, size: 8,
      proof: [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
      ]),
    Inclusion(
      index: 5, size: 8,
      proof: [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
      ]),
    Inclusion(index: 2, size: 3, proof: ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    Inclusion(
      index: 1, size: 5,
      proof: [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
      ]),
  ]
  private static let consistency = [
    Consistency(old: 1, new: 1, proof: []),
    Consistency(
      old: 1, new: 8,
      proof: [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
      ]),
    Consistency(
      old: 6, new: 8,
      proof: [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
      ]),
    Consistency(
      old: 2, new: 5,
      proof: [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
      ]),
    Consistency(
      old: 6, new: 7,
      proof: [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
      ]),
  ]
  private static let some = Digest(of: Array("some hash".utf8))

  private func root(_ size: UInt64) throws -> Digest { try #require(Digest(hex: MerkleTests.roots[Int(size)])) }

  /// What transparency-dev/merkle makes of a proof, none of which may pass.
  private func broken(_ proof: [Digest], _ roots: Digest...) -> [[Digest]] {
    var all = roots.flatMap { [proof + [$0], [$0] + proof] }
    for at in proof.indices {
      var changed = proof
      changed[at] = Digest(bytes: [changed[at].bytes[0] ^ 8] + changed[at].bytes.dropFirst()) ?? Self.some
      all.append(changed)
    }
    if let first = proof.first { all += [Array(proof.dropLast()), [first] + proof, []] }
    if proof.count > 1 { all.append([proof[0], Self.some] + proof[1...]) }
    return all
  }

  @Test func inclusionProofsAndTheirProbes() throws {
    let tree = try Tree(MerkleTests.records.map { try #require(Hex.decode($0)) })
    for vector in Self.inclusion {
      let (index, size) = (vector.index, vector.size)
      let proof = vector.proof.compactMap { Digest(hex: $0) }
      #expect(try Merkle.inclusionProof(index: index, size: size, read: tree.reader) == proof)
      let (leaf, root) = (tree.leaves[Int(index)], try root(size))
      func holds(_ index: UInt64, _ size: UInt64, _ leaf: Digest, _ proof: [Digest], _ root: Digest) -> Bool {
        Merkle.verifyInclusion(leaf: leaf, index: index, size: size, proof: proof, root: root)
      }
      #expect(holds(index, size, leaf, proof, root))
      for other in [index &- 1, index + 1, index ^ 2] { #expect(!holds(other, size, leaf, proof, root)) }
      for other in [size * 2, size / 2] { #expect(!holds(index, other, leaf, proof, root)) }
      #expect(!holds(index, size, Self.some, proof, root) && !holds(index, size, leaf, proof, Self.some))
      #expect(!holds(index, size, leaf, proof, Merkle.emptyRoot))
      for changed in broken(proof, root) { #expect(!holds(index, size, leaf, changed, root)) }
    }
    for (index, size) in [(0, 0), (0, 1), (1, 0), (2, 1)] as [(UInt64, UInt64)] {
      #expect(
        !Merkle.verifyInclusion(leaf: Self.some, index: index, size: size, proof: [], root: Merkle.emptyRoot))
    }
  }

  @Test func consistencyProofsAndTheirProbes() throws {
    let tree = try Tree(MerkleTests.records.map { try #require(Hex.decode($0)) })
    for vector in Self.consistency {
      let (old, new) = (vector.old, vector.new)
      let proof = vector.proof.compactMap { Digest(hex: $0) }
      #expect(try Merkle.consistencyProof(old: old, new: new, read: tree.reader) == proof)
      let (first, second) = (try root(old), try root(new))
      func holds(_ old: UInt64, _ new: UInt64, _ first: Digest, _ second: Digest, _ proof: [Digest]) -> Bool {
        Merkle.verifyConsistency(oldSize: old, oldRoot: first, newSize: new, newRoot: second, proof: proof)
      }
      #expect(holds(old, new, first, second, proof))
      if proof.isEmpty { continue }
      for other in [old - 1, old + 1, old ^ 2] { #expect(!holds(other, new, first, second, proof)) }
      for other in [new * 2, new / 2] { #expect(!holds(old, other, first, second, proof)) }
      #expect(!holds(old, new, Self.some, second, proof) && !holds(old, new, first, Self.some, proof))
      #expect(!holds(old, new, second, first, proof))
      for changed in broken(proof, first, second) { #expect(!holds(old, new, first, second, changed)) }
    }
  }
}
