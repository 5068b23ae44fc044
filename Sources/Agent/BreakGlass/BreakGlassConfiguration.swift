import Trust

extension AgentConfiguration {
  /// How far break-glass codes of the hub go here.
  public struct BreakGlassSettings: Sendable, Hashable {
    /// No door stays open longer, whatever its grant says. 0: this box opens to no code.
    public var maxSeconds = 3600

    public init() {}
  }
}

extension AgentConfiguration.BreakGlassSettings {
  init(_ field: JSONField) throws(JSONFieldError) {
    let members = try field.members(["maxSeconds"])
    if let field = members["maxSeconds"] { maxSeconds = try field.integer(0...86_400) }
  }

  var effective: JSONValue { ["maxSeconds": .integer(Int64(maxSeconds))] }
}
