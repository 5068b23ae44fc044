/// An IPv4 or IPv6 address. An IPv4 address that is written as an IPv6 one (RFC 4291 §2.5.5.2) is the IPv4 address.
public struct NetworkAddress: Sendable, Hashable, CustomStringConvertible {
  /// In network order: 4 bytes or 16.
  public let bytes: [UInt8]

  /// Reads RFC 4291's text forms and dotted decimals; a zone (`%eth0`) is left out. Nil for anything else.
  public init?(_ text: String) {
    let plain = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false).first.map(String.init) ?? ""
    guard let read = plain.contains(":") ? NetworkAddress.six(plain) : NetworkAddress.four(plain[...]) else {
      return nil
    }
    let mapped = read.count == 16 && read[..<10].allSatisfy { $0 == 0 } && read[10] == 0xFF && read[11] == 0xFF
    bytes = mapped ? Array(read[12...]) : read
  }

  private static func four(_ text: Substring) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bytes: [UInt8] = []
    for part in parts {
      // A leading zero is octal to some and decimal to others.
      guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
        part == "0" || !part.hasPrefix("0"), let byte = UInt8(part)
      else { return nil }
      bytes.append(byte)
    }
    return bytes
  }

  private static func six(_ text: String) -> [UInt8]? {
    var halves: [[UInt8]] = []
    let gap = text.utf8.indices.first { at in
      let next = text.utf8.index(after: at)
      return text.utf8[at] == 0x3A && next < text.utf8.endIndex && text.utf8[next] == 0x3A
    }
    let sides: [Substring]
    if let gap {
      sides = [text[..<gap], text[text.utf8.index(gap, offsetBy: 2)...]]
    } else {
      sides = [text[...]]
    }
    for (number, side) in sides.enumerated() {
      var bytes: [UInt8] = []
      let groups = side.isEmpty ? [] : side.split(separator: ":", omittingEmptySubsequences: false)
      for (at, group) in groups.enumerated() {
        if group.contains(".") {
          guard at == groups.count - 1, number == sides.count - 1, let last = four(group) else { return nil }
          bytes += last
          continue
        }
        guard (1...4).contains(group.utf8.count), group.utf8.allSatisfy(isHex), let value = UInt16(group, radix: 16)
        else { return nil }
        bytes += [UInt8(value >> 8), UInt8(value & 0xFF)]
      }
      halves.append(bytes)
    }
    let given = halves.reduce(0) { $0 + $1.count }
    guard let first = halves.first else { return nil }
    if halves.count == 1 { return given == 16 ? first : nil }
    // "::" stands for one group at least.
    guard given <= 14 else { return nil }
    return first + [UInt8](repeating: 0, count: 16 - given) + halves[1]
  }

  private static func isHex(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
  }

  /// Dotted decimals, or eight groups without leading zeros.
  public var description: String {
    if bytes.count == 4 { return bytes.map(String.init).joined(separator: ".") }
    return stride(from: 0, to: 16, by: 2).map { String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16) }
      .joined(separator: ":")
  }
}

/// Addresses with the same first bits: `10.0.0.0/8`, `fd00::/8`, or a single one.
public struct NetworkRange: Sendable, Hashable, CustomStringConvertible {
  public let address: NetworkAddress
  public let bits: Int

  /// Nil for bad text, too many bits, or bits set beyond the prefix.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard !text.contains("%"), let address = NetworkAddress(String(parts[0])) else { return nil }
    var bits = address.bytes.count * 8
    if parts.count == 2 {
      guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let stated = Int(parts[1]), stated <= bits else {
        return nil
      }
      bits = stated
    }
    for (at, byte) in address.bytes.enumerated() {
      let kept = min(max(bits - at * 8, 0), 8)
      guard kept == 8 || byte & (0xFF >> UInt8(kept)) == 0 else { return nil }
    }
    self.address = address
    self.bits = bits
  }

  public func contains(_ other: NetworkAddress) -> Bool {
    guard other.bytes.count == address.bytes.count else { return false }
    let whole = bits / 8
    for at in 0..<whole where other.bytes[at] != address.bytes[at] { return false }
    let rest = UInt8(bits % 8)
    return rest == 0 || (other.bytes[whole] ^ address.bytes[whole]) >> (8 - rest) == 0
  }

  /// Whether every address of the other is one of these.
  func covers(_ other: NetworkRange) -> Bool { bits <= other.bits && contains(other.address) }

  public var description: String { bits == address.bytes.count * 8 ? "\(address)" : "\(address)/\(bits)" }
}
