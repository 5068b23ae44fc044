import Storage
import Trust

/// Why the hub's state directory or configuration can't be used.
public enum HubSetupError: Error, Hashable, CustomStringConvertible {
  case alreadyAHub(String)
  case notAHub(String)
  case badConfiguration(path: String, reason: String)
  case badURL(String)
  case badListen(String)
  case badKey(path: String, reason: String)
  case cannotListen(String)

  public var description: String {
    switch self {
    case .alreadyAHub(let path): "\(path) is a hub already; choose another directory, or start it with serve"
    case .notAHub(let path): "\(path) is no hub's directory; make one with init"
    case .badConfiguration(let path, let reason): "\(path): \(reason)"
    case .badURL(let text): "\(text) is no address of a hub; it looks like https://hub.example:8443"
    case .badListen(let text): "\(text) is no address to listen on; it looks like 127.0.0.1:8443"
    case .badKey(let path, let reason): "\(path): \(reason)"
    case .cannotListen(let reason): "\(reason); choose another address in hub.json5, or stop who has it"
    }
  }
}

/// What `hub.json5` says: where boxes find the hub, and where it listens.
public struct HubConfiguration: Hashable, Sendable {
  /// `https://host:port`, as it stands in enrolment tokens.
  public let url: String
  public let listenHost: String
  /// 0 takes any free port, for tests.
  public let listenPort: Int

  /// Throws `.badURL` or `.badListen`. Without `listen` the port is the address's, and the interface is loopback when
  /// the address is, and all otherwise.
  public init(url: String, listen: String? = nil) throws(HubSetupError) {
    guard url.hasPrefix("https://"), url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }),
      let place = HubConfiguration.split(url.dropFirst(8), defaultPort: 443)
    else { throw .badURL(url) }
    self.url = url
    let loopback = ["127.0.0.1", "localhost", "::1"].contains(place.host)
    let listen = listen ?? (loopback ? "127.0.0.1:\(place.port)" : "0.0.0.0:\(place.port)")
    guard let place = HubConfiguration.split(listen[...], defaultPort: nil) else { throw .badListen(listen) }
    listenHost = place.host
    listenPort = place.port
  }

  /// Reads `hub.json5`; an unknown key is an error.
  public init(parsing bytes: [UInt8], path: String) throws(HubSetupError) {
    let value: JSONValue
    do { value = try JSONValue(parsing: bytes, json5: true) } catch {
      throw .badConfiguration(path: path, reason: error.description)
    }
    guard let members = value.object else { throw .badConfiguration(path: path, reason: "it is no object") }
    for key in members.keys.sorted() where key != "url" && key != "listen" {
      throw .badConfiguration(path: path, reason: "the key \"\(key)\" is unknown; known are url and listen")
    }
    guard let url = members["url"]?.string else {
      throw .badConfiguration(path: path, reason: "\"url\" is missing or no string")
    }
    if let listen = members["listen"], listen.string == nil {
      throw .badConfiguration(path: path, reason: "\"listen\" is no string")
    }
    try self.init(url: url, listen: members["listen"]?.string)
  }

  /// The file's content.
  public var json5: String {
    """
    {
      // Where boxes find this hub. It stands in every enrolment token.
      url: \(JSONValue.string(url).text),
      // Where it listens.
      listen: \(JSONValue.string(listen).text),
    }

    """
  }

  public var listen: String {
    listenHost.contains(":") ? "[\(listenHost)]:\(listenPort)" : "\(listenHost):\(listenPort)"
  }

  /// The host names and addresses for the certificate.
  public var addresses: [String] {
    let host = HubConfiguration.split(url.dropFirst(8), defaultPort: 443)?.host ?? "localhost"
    var seen: [String] = []
    for name in [host, listenHost, "localhost", "127.0.0.1"] where !seen.contains(name) && name != "0.0.0.0" {
      seen.append(name)
    }
    return seen
  }

  private static func split(_ text: Substring, defaultPort: Int?) -> (host: String, port: Int)? {
    var text = text
    if text.last == "/" { text.removeLast() }
    guard !text.isEmpty, !text.contains("/"), !text.contains("@") else { return nil }
    var host = text
    var port = defaultPort
    if text.first == "[" {
      guard let close = text.firstIndex(of: "]") else { return nil }
      host = text[text.index(after: text.startIndex)..<close]
      let rest = text[text.index(after: close)...]
      if rest.first == ":" { port = Int(rest.dropFirst()) } else if !rest.isEmpty { return nil }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = Int(text[text.index(after: colon)...])
      guard !host.contains(":") else { return nil }
    }
    guard let port, (0...65535).contains(port), !host.isEmpty else { return nil }
    return (String(host), port)
  }
}

extension JSONValue {
  /// The compact encoding as text.
  var text: String { String(decoding: encoded(), as: UTF8.self) }
}
