import FoundationEssentials

/// Where the hub listens, out of its URL.
struct HubAddress: Hashable, Sendable {
  let host: String
  let port: UInt16

  /// Takes `https://host`, `https://host:port`, with an IPv6 address in brackets; nil for anything else.
  init?(url: String) {
    guard let parsed = URL(string: url), parsed.scheme == "https", let host = parsed.host, !host.isEmpty,
      let port = UInt16(exactly: parsed.port ?? 443)
    else { return nil }
    self.host = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
    self.port = port
  }
}
