/// Finds the patterns that cover a resource without looking at the others: by the literal text before a pattern's first star
/// or, where more is spelled out there, after its last one.
struct PatternIndex: Sendable {
  struct Entry: Sendable {
    /// Small comes first.
    let key: UInt64
    /// The rule's number.
    let rule: Int32
    /// Whether the pattern must still be compared.
    let isGlob: Bool
  }

  /// Patterns with the same literal text.
  private struct Bucket: Sendable {
    var literal: [UInt8] = []
    /// Those without a star.
    var exact: [Entry] = []
    /// Those with one, at the end: whatever follows is covered.
    var open: [Entry] = []
    var globs: [Entry] = []
  }

  /// Buckets by a hash that can be computed for each length of a text in one walk (FNV-1a).
  private struct Half: Sendable {
    var buckets: [Bucket] = []
    /// Numbers of buckets by hash, open addressing; -1: free.
    var slots: [Int32] = []
    /// Whether a literal text has this length.
    var lengths: [Bool] = []

    init(_ found: [[UInt8]: Bucket]) {
      guard !found.isEmpty else { return }
      buckets = Array(found.values)
      var size = 2
      while size < buckets.count * 2 { size *= 2 }
      slots = [Int32](repeating: -1, count: size)
      lengths = [Bool](repeating: false, count: (buckets.map(\.literal.count).max() ?? 0) + 1)
      for (number, bucket) in buckets.enumerated() {
        lengths[bucket.literal.count] = true
        var slot = PatternIndex.slot(bucket.literal.reduce(PatternIndex.start, PatternIndex.step), size)
        while slots[slot] >= 0 { slot = (slot + 1) & (size - 1) }
        slots[slot] = Int32(number)
      }
    }

    /// The bucket whose literal text is the text's first (or, backwards, last) bytes.
    @inline(__always)
    func bucket(_ hash: UInt64, _ text: UnsafeBufferPointer<UInt8>, _ length: Int, isBackward: Bool) -> Int? {
      var slot = PatternIndex.slot(hash, slots.count)
      while slots[slot] >= 0 {
        let number = Int(slots[slot])
        if buckets[number].literal.count == length {
          let from = isBackward ? text.count - length : 0
          let isSame = buckets[number].literal.withUnsafeBufferPointer { literal in
            for at in 0..<length where literal[isBackward ? length - 1 - at : at] != text[from + at] { return false }
            return true
          }
          if isSame { return number }
        }
        slot = (slot + 1) & (slots.count - 1)
      }
      return nil
    }
  }

  private static let start: UInt64 = 0xCBF2_9CE4_8422_2325
  @inline(__always) private static func step(_ hash: UInt64, _ byte: UInt8) -> UInt64 {
    (hash ^ UInt64(byte)) &* 0x100_0000_01B3
  }
  @inline(__always) private static func slot(_ hash: UInt64, _ size: Int) -> Int {
    Int(truncatingIfNeeded: hash ^ (hash >> 29)) & (size - 1)
  }

  private let forward: Half
  private let backward: Half
  let isEmpty: Bool

  /// `rules` with their keys; each rule's pattern is looked up by its number.
  init(_ rules: [(key: UInt64, rule: Int32)], _ pattern: (Int32) -> ResourcePattern) {
    var (before, after): ([[UInt8]: Bucket], [[UInt8]: Bucket]) = ([:], [:])
    let star = UInt8(ascii: "*")
    for (key, rule) in rules.sorted(by: { $0.key < $1.key }) {
      let bytes = pattern(rule).pattern
      let head = Array(bytes.prefix { $0 != star })
      guard let last = bytes.lastIndex(of: star) else {
        before[head, default: Bucket()].exact.append(Entry(key: key, rule: rule, isGlob: false))
        continue
      }
      if last == head.count, last == bytes.count - 1 {
        before[head, default: Bucket()].open.append(Entry(key: key, rule: rule, isGlob: false))
        continue
      }
      // Many patterns begin with their kind; it tells little.
      let tail = Array(bytes[(last + 1)...].reversed())
      let named = head.count - ((head.firstIndex(of: UInt8(ascii: ":")) ?? -1) + 1)
      let entry = Entry(key: key, rule: rule, isGlob: true)
      if tail.count > named {
        after[tail, default: Bucket()].globs.append(entry)
      } else {
        before[head, default: Bucket()].globs.append(entry)
      }
    }
    for (literal, _) in before { before[literal]?.literal = literal }
    for (literal, _) in after { after[literal]?.literal = literal }
    forward = Half(before)
    backward = Half(after)
    isEmpty = rules.isEmpty
  }

  /// Shows every entry that may cover the text: one that `isGlob` must be compared with it. `body` returns false when the
  /// larger keys of the same list can't matter any more.
  @inline(__always)
  func visit(_ text: UnsafeBufferPointer<UInt8>, _ body: (Entry) -> Bool) {
    if !forward.buckets.isEmpty { walk(forward, text, isBackward: false, body) }
    if !backward.buckets.isEmpty { walk(backward, text, isBackward: true, body) }
  }

  @inline(__always)
  private func walk(
    _ half: Half, _ text: UnsafeBufferPointer<UInt8>, isBackward: Bool, _ body: (Entry) -> Bool
  ) {
    var hash = PatternIndex.start
    let longest = min(text.count, half.lengths.count - 1)
    for length in 0...longest {
      if length > 0 {
        hash = PatternIndex.step(hash, isBackward ? text[text.count - length] : text[length - 1])
      }
      guard half.lengths[length], let number = half.bucket(hash, text, length, isBackward: isBackward) else { continue }
      if length == text.count { for entry in half.buckets[number].exact { if !body(entry) { break } } }
      for entry in half.buckets[number].open { if !body(entry) { break } }
      for entry in half.buckets[number].globs { if !body(entry) { break } }
    }
  }
}
