/// Roles by their numbers in a policy.
struct RoleSet: Sendable, Hashable {
  private var words: [UInt64]

  init(count: Int) { words = [UInt64](repeating: 0, count: (count + 63) / 64) }

  func contains(_ role: Int) -> Bool { words[role >> 6] & (1 << UInt64(role & 63)) != 0 }

  mutating func insert(_ role: Int) { words[role >> 6] |= 1 << UInt64(role & 63) }
  mutating func remove(_ role: Int) { words[role >> 6] &= ~(1 << UInt64(role & 63)) }

  mutating func formUnion(_ other: RoleSet) { for at in words.indices { words[at] |= other.words[at] } }

  func intersects(_ other: RoleSet) -> Bool { zip(words, other.words).contains { $0 & $1 != 0 } }
  func isSubset(of other: RoleSet) -> Bool { zip(words, other.words).allSatisfy { $0 & ~$1 == 0 } }

  /// How many are in both.
  func shared(with other: RoleSet) -> Int { zip(words, other.words).reduce(0) { $0 + ($1.0 & $1.1).nonzeroBitCount } }

  var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

  /// The numbers, ascending.
  var numbers: [Int] {
    var found: [Int] = []
    for (at, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        found.append(at << 6 + rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
    return found
  }
}
