import Trust

/// JSON text that a reader found well-formed, cut into its parts without being written anew: the order of keys in a JSON
/// schema means something to an engine's grammar, and numbers must not change.
struct RawJSON: Sendable, Hashable {
  let bytes: ArraySlice<UInt8>

  init(_ bytes: some Sequence<UInt8>) {
    let all = Array(bytes)[...]
    self.init(trimming: all)
  }

  init(_ value: JSONValue) { bytes = value.encoded()[...] }

  private init(trimming slice: ArraySlice<UInt8>) {
    var slice = slice
    while let first = slice.first, JSONText.isSpace(first) { slice.removeFirst() }
    while let last = slice.last, JSONText.isSpace(last) { slice.removeLast() }
    bytes = slice
  }

  /// The value read; null for text that is none.
  var value: JSONValue { (try? JSONValue(parsing: bytes)) ?? .null }

  /// The members of an object in their order; none for anything else.
  var members: [(key: String, value: RawJSON)] {
    guard bytes.first == UInt8(ascii: "{") else { return [] }
    return parts.compactMap { part in
      guard part.first == UInt8(ascii: "\""), let end = RawJSON.endOfString(part),
        let key = RawJSON(trimming: part[..<end]).value.string,
        let colon = part[end...].firstIndex(of: UInt8(ascii: ":"))
      else { return nil }
      return (key, RawJSON(trimming: part[(colon + 1)...]))
    }
  }

  /// The elements of an array; none for anything else.
  var elements: [RawJSON] {
    bytes.first == UInt8(ascii: "[") ? parts.map { RawJSON(trimming: $0) } : []
  }

  subscript(key: String) -> RawJSON? { members.first { $0.key == key }?.value }

  /// What stands between the outermost brackets, cut at the commas of that level.
  private var parts: [ArraySlice<UInt8>] {
    guard bytes.count >= 2 else { return [] }
    let inside = bytes.dropFirst().dropLast()
    var found: [ArraySlice<UInt8>] = []
    var depth = 0
    var start = inside.startIndex
    var at = inside.startIndex
    while at < inside.endIndex {
      switch inside[at] {
      case UInt8(ascii: "\""):
        at = RawJSON.endOfString(inside[at...]) ?? inside.endIndex
        continue
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
      case UInt8(ascii: ",") where depth == 0:
        found.append(RawJSON(trimming: inside[start..<at]).bytes)
        start = at + 1
      default: break
      }
      at += 1
    }
    let last = RawJSON(trimming: inside[start...]).bytes
    return last.isEmpty ? found : found + [last]
  }

  /// Just after the quote that closes the string at the slice's start.
  private static func endOfString(_ slice: ArraySlice<UInt8>) -> Int? {
    var at = slice.startIndex + 1
    while at < slice.endIndex {
      if slice[at] == UInt8(ascii: "\\") {
        at += 2
      } else if slice[at] == UInt8(ascii: "\"") {
        return at + 1
      } else {
        at += 1
      }
    }
    return nil
  }
}

extension RawJSON {
  static func object(_ members: [(key: String, value: RawJSON)]) -> RawJSON {
    joined("{", members.map { JSONValue.string($0.key).encoded() + [UInt8(ascii: ":")] + $0.value.bytes }, "}")
  }

  static func array(_ elements: [RawJSON]) -> RawJSON { joined("[", elements.map { Array($0.bytes) }, "]") }

  private static func joined(_ open: String, _ parts: [[UInt8]], _ close: String) -> RawJSON {
    RawJSON(Array(open.utf8) + parts.joined(separator: [UInt8(ascii: ",")]) + Array(close.utf8))
  }

  /// The object with other values for these keys, at their places where they stood; nil takes the member out.
  func replacing(_ changes: [String: RawJSON?]) -> RawJSON {
    var left = changes
    var made: [(key: String, value: RawJSON)] = []
    for member in members {
      guard let change = left.removeValue(forKey: member.key) else {
        made.append(member)
        continue
      }
      if let change { made.append((member.key, change)) }
    }
    for (key, change) in left.sorted(by: { $0.key < $1.key }) {
      if let change { made.append((key, change)) }
    }
    return .object(made)
  }
}
