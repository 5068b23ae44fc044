import Trust

extension AgentConfiguration {
  /// What a bundle may change here besides models and metadata.
  public struct Bundle: Sendable, Hashable {
    /// Whether a policy file in a bundle replaces `roles.json5`. Off: whoever holds the hub's online key could otherwise
    /// hand out this box's roles.
    public var policies = false

    public init() {}
  }
}

extension AgentConfiguration.Bundle {
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["policies"])
    if let field = members["policies"] { policies = try field.bool() }
  }

  var effective: JSONValue { ["policies": .bool(policies)] }
}
