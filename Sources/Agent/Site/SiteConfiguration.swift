public import Trust

/// Sharing models with other boxes of one site. Off as long as nothing listens and there are no neighbours.
public struct SiteConfiguration: Sendable, Hashable {
  /// A box that this one knows by its key.
  public struct Neighbour: Sendable, Hashable {
    public var name: String
    /// `host:port` where it listens for its neighbours.
    public var address: String
    /// Its device key: what its server must show, and what its requests must be signed with.
    public var key: VerifyingKey
  }

  /// `host:port` for neighbours; nil: this box takes and does not give.
  public var listen: String?
  /// This box's own entry may be among them and is passed over, so that one list does for all boxes.
  public var neighbours: [Neighbour] = []
  /// The most that is sent to all neighbours together. 0: no limit.
  public var bytesPerSecond = 0
  /// Connections of all neighbours together.
  public var maxConnections = 128
  /// Requests of one neighbour that are worked on at the same time; more are told to come back.
  public var maxInFlight = 8

  public init() {}

  /// More would cost each of them more than it brings.
  static let mostNeighbours = 64
}

extension SiteConfiguration {
  /// Decodes strictly.
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["listen", "neighbours", "bytesPerSecond", "maxConnections", "maxInFlight"])
    if let field = members["listen"], !field.isNull {
      listen = try SiteConfiguration.address(field, ports: 0...65535, orNull: true)
    }
    if let field = members["neighbours"] {
      for element in try field.array(of: "neighbours") { neighbours.append(try Neighbour(element)) }
      guard neighbours.count <= SiteConfiguration.mostNeighbours else {
        throw field.wrong(
          "\(neighbours.count) are too many", allowed: "at most \(SiteConfiguration.mostNeighbours) neighbours")
      }
      guard Set(neighbours.map(\.name)).count == neighbours.count else {
        throw field.wrong("two of them have the same name", allowed: "a name of its own for each")
      }
      guard Set(neighbours.map(\.key)).count == neighbours.count else {
        throw field.wrong("two of them have the same key", allowed: "a key of its own for each box")
      }
    }
    if let field = members["bytesPerSecond"] { bytesPerSecond = try field.integer(0...1 << 40) }
    if let field = members["maxConnections"] { maxConnections = try field.integer(4...4096) }
    if let field = members["maxInFlight"] { maxInFlight = try field.integer(1...64) }
  }

  fileprivate static func address(
    _ field: JSONField, ports: ClosedRange<Int>, orNull: Bool = false
  ) throws(JSONFieldError) -> String {
    let allowed =
      "\"host:port\" with a port from \(ports.lowerBound) to \(ports.upperBound)" + (orNull ? ", or null" : "")
    let text = try field.string(allowed)
    guard let address = AgentConfiguration.address(text), ports.contains(address.port),
      address.host.utf8.allSatisfy({ isHostByte($0) })
    else { throw field.wrong("\"\(text)\" is no address", allowed: allowed) }
    return text
  }

  /// What goes into a URL as a host: names, IPv4 and IPv6 addresses.
  private static func isHostByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x3A, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
    default: false
    }
  }

  /// The effective values.
  var effective: JSONValue {
    [
      "listen": listen.map(JSONValue.string) ?? .null,
      "neighbours": .array(
        neighbours.map { ["name": .string($0.name), "address": .string($0.address), "key": .string($0.key.hex)] }),
      "bytesPerSecond": .integer(Int64(bytesPerSecond)), "maxConnections": .integer(Int64(maxConnections)),
      "maxInFlight": .integer(Int64(maxInFlight)),
    ]
  }
}

extension SiteConfiguration.Neighbour {
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["name", "address", "key"])
    func required(_ name: String) throws(JSONFieldError) -> JSONField {
      guard let member = members[name] else { throw field.wrong("\(name) is missing", allowed: "name, address, key") }
      return member
    }
    let nameField = try required("name")
    name = try AgentConfiguration.boxName(nameField)
    address = try SiteConfiguration.address(try required("address"), ports: 1...65535)
    let keyField = try required("key")
    let allowed = "the 64 hexadecimal digits that `skerry site` prints on that box"
    guard let bytes = Hex.decode(try keyField.string(allowed)), let key = VerifyingKey(bytes: bytes) else {
      throw keyField.wrong("it is no Ed25519 public key", allowed: allowed)
    }
    self.key = key
  }
}
