public import Trust

/// What a hub's operator shows to a box: a JWT of a few hours, signed by the director's key and made for this box alone.
/// The box checks it without a network, and its own policy says what `operator:NAME` may do.
public enum OperatorPass {
  /// `typ`: no other token can be taken for a pass, nor a pass for another token (RFC 8725 §3.11).
  public static let type = "skerry-pass+jwt"
  static let issuer = "urn:skerry:hub"
  /// In seconds. Nothing takes a pass back before its end.
  public static let longest: Int64 = 86_400
  /// By how much the clocks of a hub and a box may differ, in seconds.
  static let leeway: Int64 = 120

  /// - Parameters:
  ///   - now: Unix seconds.
  ///   - serial: another text for each pass.
  public static func issue(
    to name: String, for device: DeviceID, from now: Int64, seconds: Int64, serial: String, by key: SigningKey
  ) -> String {
    JSONWebToken.sign(
      [
        "iss": .string(issuer), "aud": .string(device.hex), "sub": .string(name), "iat": .integer(now),
        "exp": .integer(now + min(seconds, longest)), "jti": .string(serial),
      ], type: type, keyID: TUFKey(ed25519: key.verifyingKey).keyID, by: key)
  }

  /// The keys that may sign passes: those whose single word is the director's, by the root that the box trusts. Nil where
  /// more than one must sign, since a pass has one signature.
  public static func keys(of root: TUFRoot) -> JSONWebKeySet? {
    let role = root.roleKeys(.targets)
    guard role.threshold == 1 else { return nil }
    let keys = role.keyIDs.compactMap { id -> JSONWebKey? in
      guard case .ed25519(let key)? = root.keys[id]?.verifyingKey else { return nil }
      return JSONWebKey(ed25519: key, id: id)
    }
    return keys.isEmpty ? nil : JSONWebKeySet(keys)
  }

  /// The operator's name on a pass for this box that is good now. Throws `JWTError`.
  public static func check(
    _ token: JSONWebToken, for device: DeviceID, keys: JSONWebKeySet, at now: Int64
  ) throws(JWTError) -> String {
    let claims = try JWTExpectation(
      issuer: issuer, audience: device.hex, types: [type], keys: keys, maxAge: longest, leeway: leeway
    ).check(token, at: now)
    guard let name = claims["sub"]?.string else { throw .badClaim("sub") }
    return name
  }
}
