import Models
import Testing
import Trust

@Suite struct StorePlanTests {
  private typealias Holding = StoreInventory.Holding

  private func holding(
    _ label: String, active: Bool = true, retired: Bool = false, pinned: Bool = false, used: Bool = false,
    at time: Int64 = 0, length: UInt64 = 100, file: UInt8? = nil
  ) throws -> Holding {
    let parts = label.split(separator: ":")
    let manifest = ModelManifest(
      name: try #require(ModelName(parts[0])), version: try #require(ModelVersion(parts[1])), fileName: "a.gguf",
      length: length, sha256: Digest(of: file.map { [$0] } ?? Array(label.utf8)),
      index: .init(length: 1, sha256: Digest(of: [])), architecture: "llama", contextLength: 0)
    return Holding(
      manifest, isActive: active, isRetired: retired, isPinned: pinned, isInUse: used, lastUse: time, activatedAt: time)
  }

  private func labels(_ holdings: [Holding]?) -> [String]? { holdings?.map(\.manifest.label) }

  @Test func garbageIsNeverActivePinnedInUseOrTheLastGoodOne() throws {
    let inventory = StoreInventory(
      [
        try holding("a:3", at: 30), try holding("a:2", retired: true, at: 20),
        try holding("a:1", retired: true, at: 10),
        try holding("b:1", retired: true, at: 5), try holding("c:1", retired: true, pinned: true),
        try holding("d:1", retired: true, used: true), try holding("a:4", active: false, retired: true, at: 40),
      ], keepsPrevious: true)
    #expect(Set(labels(inventory.garbage) ?? []) == ["a:1", "b:1", "a:4"])
    #expect(inventory.previous.map(\.manifest.label) == ["a:2"])
    #expect(
      inventory.holdings.map { inventory.reason(toKeep: $0) } == [nil, .previous, nil, nil, .pinned, .inUse, nil])
    var without = inventory
    without.keepsPrevious = false
    #expect(Set(labels(without.garbage) ?? []) == ["a:1", "a:2", "b:1", "a:4"])
  }

  @Test func roomIsMadeByTheLeastRecentlyUsed() throws {
    let inventory = StoreInventory(
      [
        try holding("old:1", at: 10), try holding("mid:1", at: 20), try holding("new:1", at: 50),
        try holding("pin:1", pinned: true, at: 1), try holding("run:1", used: true, at: 2),
        try holding("gone:1", retired: true, at: 90), try holding("mid:0", retired: true, at: 15),
      ], keepsPrevious: true)
    func room(_ bytes: UInt64, _ incoming: Holding? = nil, before: Int64 = 40) -> [String]? {
      labels(inventory.room(bytes, for: incoming?.manifest, before: before))
    }
    #expect(room(0) == [])
    #expect(room(1) == ["gone:1"], "garbage first")
    #expect(room(101) == ["gone:1", "mid:0"], "then earlier versions")
    #expect(room(201) == ["gone:1", "mid:0", "old:1"])
    #expect(room(400) == ["gone:1", "mid:0", "old:1", "mid:1"])
    #expect(room(401) == nil, "what was used since, pinned or open stays, and then nothing goes")
    #expect(room(401, before: 60)?.last == "new:1")
    // A new version never takes the place of the one that answers meanwhile.
    #expect(room(301, try holding("mid:2")) == nil)
    #expect(room(300, try holding("mid:2")) == ["gone:1", "mid:0", "old:1"])
  }

  @Test func aFileWithSeveralNamesGoesWithTheLastOfThem() throws {
    let inventory = StoreInventory(
      [
        try holding("a:1", at: 1, file: 7), try holding("b:1", pinned: true, at: 2, file: 7), try holding("c:1", at: 3),
      ],
      keepsPrevious: true)
    #expect(labels(inventory.room(1, for: nil, before: 10)) == ["c:1"])
    #expect(inventory.references(to: Digest(of: [7])).count == 2)
    let both = StoreInventory(
      [try holding("a:1", at: 1, file: 7), try holding("b:1", at: 2, file: 7)], keepsPrevious: true)
    #expect(labels(both.room(100, for: nil, before: 10)) == ["a:1", "b:1"])
    #expect(both.room(101, for: nil, before: 10) == nil, "one file's bytes are freed once")
  }

  @Test func aBaseDoesNotGoForItsAdapter() throws {
    let base = try holding("base:1", at: 1)
    let adapter = ModelManifest(
      name: try #require(ModelName("lora")), version: try #require(ModelVersion("1")), fileName: "a.gguf", length: 9,
      sha256: Digest(of: [9]), index: .init(length: 1, sha256: Digest(of: [])), architecture: "llama",
      contextLength: 0, base: base.manifest.sha256)
    #expect(StoreInventory([base], keepsPrevious: true).room(1, for: adapter, before: 10) == nil)
  }

  /// Whatever the store holds: what is protected never goes, and what goes is enough.
  @Test func propertiesHoldForRandomStores() throws {
    var random = SystemRandomNumberGenerator()
    for _ in 0..<2_000 {
      var holdings: [Holding] = []
      for number in 0..<Int.random(in: 0...8, using: &random) {
        let file = UInt8.random(in: 0...5, using: &random)
        holdings.append(
          try holding(
            "\(["a", "b", "c"].randomElement(using: &random) ?? "a"):\(number)", active: .random(using: &random),
            retired: .random(using: &random), pinned: Int.random(in: 0..<4, using: &random) == 0,
            used: Int.random(in: 0..<4, using: &random) == 0, at: .random(in: 0...100, using: &random),
            length: UInt64(file) * 13 + 1, file: file))
      }
      let inventory = StoreInventory(holdings, keepsPrevious: .random(using: &random))
      for gone in inventory.garbage {
        #expect(gone.isRetired && !gone.isPinned && !gone.isInUse && !inventory.previous.contains(gone))
      }
      let excess = UInt64.random(in: 1...300, using: &random)
      let before = Int64.random(in: 0...100, using: &random)
      guard let going = inventory.room(excess, for: nil, before: before) else { continue }
      for holding in going {
        #expect(!holding.isPinned && !holding.isInUse)
        #expect(holding.isRetired || (holding.isActive && holding.lastUse < before))
      }
      let stay = holdings.filter { !going.contains($0) }.map(\.manifest.sha256)
      let freed = Dictionary(grouping: going, by: \.manifest.sha256).filter { !stay.contains($0.key) }
      #expect(freed.values.reduce(0) { $0 + ($1.first?.manifest.length ?? 0) } >= excess)
    }
  }
}
