/// The name that somebody probably meant.
enum Suggestion {
  /// The nearest name, when it is near enough to be a slip of the fingers: a third of the letters, at least one.
  static func nearest(to word: String, among names: [String]) -> String? {
    let limit = max(1, word.count / 3)
    let ranked = names.map { (name: $0, distance: distance(word, $0)) }.min { $0.distance < $1.distance }
    if let ranked, ranked.distance <= limit { return ranked.name }
    let continued = names.filter { word.count >= 2 && $0.hasPrefix(word) }
    return continued.count == 1 ? continued[0] : nil
  }

  /// How many insertions, deletions, replacements and swaps of neighbours lead from one to the other
  /// (optimal string alignment).
  static func distance(_ left: String, _ right: String) -> Int {
    let a = Array(left)
    let b = Array(right)
    var rows = [Array(0...b.count)]
    for i in 0..<a.count {
      var row = [i + 1]
      for j in 0..<b.count {
        var best = min(rows[i][j] + (a[i] == b[j] ? 0 : 1), rows[i][j + 1] + 1, row[j] + 1)
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = min(best, rows[i - 1][j - 1] + 1) }
        row.append(best)
      }
      rows.append(row)
    }
    return rows[a.count][b.count]
  }
}
