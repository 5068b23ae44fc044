import Access
import Fleet
import Host
import Storage
import Synchronization
import Trust

/// Callers who show a signed token: people whom an identity provider knows, and operators of the fleet's hub. The keys are
/// here beforehand, so that no network is asked, ever.
final class Identities: Sendable {
  /// A provider with its keys.
  private struct Provider: Sendable {
    let settings: IdentityProvider
    let keys: JSONWebKeySet
  }

  private let providers: Mutex<[Provider]>
  private let device: DeviceID
  private let clock: @Sendable () -> ClockJudgement
  private let passKeys: @Sendable () async -> JSONWebKeySet?

  /// Throws `ConfigurationError` for keys that can't be read.
  /// - Parameter passKeys: those of the director that the box trusts; nil: none whose single word is enough.
  init(
    _ providers: [IdentityProvider], device: DeviceID, clock: @escaping @Sendable () -> ClockJudgement,
    passKeys: @escaping @Sendable () async -> JSONWebKeySet?
  ) throws(ConfigurationError) {
    self.providers = Mutex(try Identities.read(providers))
    self.device = device
    self.clock = clock
    self.passKeys = passKeys
  }

  /// Reads the key files again. What can't be read changes nothing. Throws `ConfigurationError`.
  func reload(_ settings: [IdentityProvider]) throws(ConfigurationError) {
    let read = try Identities.read(settings)
    providers.withLock { $0 = read }
  }

  private static func read(_ settings: [IdentityProvider]) throws(ConfigurationError) -> [Provider] {
    var read: [Provider] = []
    for one in settings {
      switch one.keys {
      case .inline(let value):
        do { read.append(Provider(settings: one, keys: try JSONWebKeySet(value))) } catch {
          throw ConfigurationError(description: "identityProviders, \(one.name): \(error)")
        }
      case .file(let path):
        let found: [UInt8]?
        do { found = try DurableFile.read(path, limit: JSONWebKeySet.limit) } catch {
          throw ConfigurationError(description: "identityProviders, \(one.name): \(path): \(error)")
        }
        guard let found else {
          throw ConfigurationError(description: "identityProviders, \(one.name): \(path): no such file")
        }
        do { read.append(Provider(settings: one, keys: try JSONWebKeySet(parsing: found))) } catch {
          throw ConfigurationError(description: "identityProviders, \(one.name): \(path): \(error)")
        }
      }
    }
    return read
  }

  /// Who shows this token. Throws `AccessFailure.unknownCaller`; nothing of what the token says is in the reason.
  func caller(_ text: String, from address: NetworkAddress?) async throws(AccessFailure) -> Caller {
    let time = clock()
    if let doubt = time.doubt {
      throw .unknownCaller(
        "this box does not know what time it is (its clock is \(doubt.rawValue)), so it takes no tokens that end by the "
          + "time: skerry sync, or set the clock")
    }
    do {
      let token = try JSONWebToken(parsing: text)
      if token.type == OperatorPass.type { return try await holder(of: token, at: time.time, from: address) }
      return try person(of: token, at: time.time, from: address)
    } catch { throw .unknownCaller(error.description) }
  }

  private func holder(
    of token: JSONWebToken, at now: Int64, from address: NetworkAddress?
  ) async throws(JWTError) -> Caller {
    guard let keys = await passKeys() else { throw .unknownKey }
    let name = try OperatorPass.check(token, for: device, keys: keys, at: now)
    guard Role.isName(name) else { throw .badClaim("sub") }
    return .operator(name, from: address)
  }

  private func person(of token: JSONWebToken, at now: Int64, from address: NetworkAddress?) throws(JWTError) -> Caller {
    // The issuer's word chooses the keys; it is believed once they have verified it.
    guard let provider = providers.withLock({ $0.first { $0.settings.issuer == token.claimedIssuer } }) else {
      throw .wrongIssuer
    }
    let settings = provider.settings
    let claims = try JWTExpectation(
      issuer: settings.issuer, audience: settings.audience, types: [nil, "jwt", "id+jwt"], keys: provider.keys,
      maxAge: settings.maxAgeSeconds, leeway: settings.leewaySeconds
    ).check(token, at: now)
    guard let subject = claims[settings.subjectClaim]?.string, Subject.isClaim(subject) else {
      throw .badClaim("\(settings.subjectClaim) (\(Subject.allowedClaims))")
    }
    return .oidc(settings.name, subject, groups: try Identities.groups(claims, settings), from: address)
  }

  /// Groups whose names can't stand in a policy are in no binding, and left out.
  private static func groups(
    _ claims: [String: JSONValue], _ settings: IdentityProvider
  ) throws(JWTError) -> [String] {
    guard let name = settings.groupsClaim, let value = claims[name], value != .null else { return [] }
    if let one = value.string { return Subject.isClaim(one) ? [one] : [] }
    guard let many = value.array, many.count <= 256 else { throw .badClaim(name) }
    return many.compactMap(\.string).filter(Subject.isClaim)
  }
}
