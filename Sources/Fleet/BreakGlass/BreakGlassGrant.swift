public import Trust

/// What the hub lets one box open in an emergency, told beforehand in the director's signed statement for that box
/// (`skerry.breakGlass` in the signed part of its targets): the codes' digests, what they give and until when.
///
/// It is good once, whoever holds the codes, and gives a role of the box's own policy for a short time.
public struct BreakGlassGrant: Codable, Sendable, Hashable {
  /// 16 hexadecimal digits; names it in every record.
  public let id: String
  /// One code's digest for each person who must be there: one or two.
  public let codes: [Digest]
  /// The role that is lent to the first of them.
  public let role: String
  /// How long it is lent, by the monotonic clock.
  public let seconds: Int64
  /// Unix seconds, by the hub's clock.
  public let issued: Int64
  public let expires: Int64
  /// The operator of the hub who issued it: `operator:first`.
  public let issuedBy: String

  /// A statement has no more than these.
  public static let most = 16
  /// How long a door may stand open.
  public static let seconds: ClosedRange<Int64> = 60...86_400
  /// For how long a code may lie in its envelope.
  public static let lifetime: ClosedRange<Int64> = 60...(2 * 366 * 86_400)

  public init(
    id: String, codes: [Digest], role: String, seconds: Int64, issued: Int64, expires: Int64, issuedBy: String
  ) {
    self.id = id
    self.codes = codes
    self.role = role
    self.seconds = seconds
    self.issued = issued
    self.expires = expires
    self.issuedBy = issuedBy
  }

  public static func newID() -> String { Hex.encode(SecureRandom.bytes(8)) }

  /// Whether it is one that a box obeys, whoever signed it.
  public var isSound: Bool {
    id.utf8.count == 16 && Hex.decode(id) != nil && (1...2).contains(codes.count) && Set(codes).count == codes.count
      && BreakGlassGrant.seconds.contains(seconds) && (1...64).contains(role.utf8.count)
      && (1...128).contains(issuedBy.utf8.count)
  }
}

/// What a box tells its hub of a door: an event in the outbox.
public enum BreakGlassEvent {
  public static let name = "break-glass"

  /// - Parameters:
  ///   - persons: the audit log's labels of who gave the codes.
  ///   - at: Unix seconds by the box's clock.
  public static func opened(_ grant: BreakGlassGrant, persons: [String], reason: String, at: Int64) -> JSONValue {
    [
      "event": .string(name), "did": "opened", "id": .string(grant.id), "role": .string(grant.role),
      "seconds": .integer(grant.seconds), "persons": .array(persons.map(JSONValue.string)), "reason": .string(reason),
      "at": .integer(at),
    ]
  }

  public static func closed(_ id: String, why: String, at: Int64) -> JSONValue {
    ["event": .string(name), "did": "closed", "id": .string(id), "why": .string(why), "at": .integer(at)]
  }
}

extension TUFTargets {
  /// What the statement lets its box open. What is not sound, or comes in a form that this version does not know, is
  /// left out.
  public var breakGlass: [BreakGlassGrant] {
    (document.signed["skerry"]?["breakGlass"]?.array ?? []).prefix(BreakGlassGrant.most).compactMap { value in
      (try? value.decoded(as: BreakGlassGrant.self)).flatMap { $0.isSound ? $0 : nil }
    }
  }
}

extension TUFSigned {
  /// The same statement with what its box may open.
  public func adding(_ grants: [BreakGlassGrant]) throws -> TUFSigned {
    grants.isEmpty ? self : with("breakGlass", .array(try grants.map { try JSONValue(encoding: $0) }))
  }
}
