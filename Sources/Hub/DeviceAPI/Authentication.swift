import Fleet
import Host
import Trust
import Web

/// A request whose signature was checked: who sent it, and its place in the box's order.
struct SignedRequest: Sendable {
  let device: DeviceRecord
  let sequence: UInt64
  let body: [UInt8]
}

/// Checks the signatures of boxes (RFC 9421, RFC 9530).
struct DeviceAuthentication: Sendable {
  let store: HubStore
  /// Requests of one box.
  private let limiter = RateLimiter(rate: 10, burst: 100)

  init(store: HubStore) { self.store = store }

  func authenticate(_ request: HTTPRequest, limit: Int) async throws -> SignedRequest {
    guard let name = HTTPMessageSignature.keyID(request.headers), let id = DeviceID(name) else {
      throw HubError(
        .badSignature, "the request is not signed by a box",
        hint: "requests carry Signature-Input, Signature, Content-Digest and Skerry-Sequence")
    }
    guard let device = try await store.device(id) else {
      throw HubError(.unknownDevice, "this hub does not know the box \(id)", hint: "enrol it with a token")
    }
    if device.revokedAt != nil { throw HubStore.revoked }
    let body = try await request.body.collect(upTo: limit)
    let sequence = try DeviceAuthentication.verify(request, body: body, key: device.key)
    guard limiter.allows(id.hex, at: Clock.monotonic()) else {
      throw HubError(.busy, "this box asks too often")
    }
    return SignedRequest(device: device, sequence: sequence, body: body)
  }

  /// The request's sequence number, once its signature is this key's. Throws `HubError` (bad_signature).
  static func verify(_ request: HTTPRequest, body: [UInt8], key: VerifyingKey) throws -> UInt64 {
    do {
      try HTTPMessageSignature.verify(
        method: request.method, authority: request.headers["host"] ?? "", target: request.target,
        headers: request.headers, body: body, key: key)
    } catch {
      throw HubError(.badSignature, "the request's signature is not valid: \(error)")
    }
    // Exactly one, so that what was signed and what is read can't differ.
    let values = request.headers.values(HTTPMessageSignature.sequenceField)
    guard values.count == 1, let sequence = UInt64(values[0]), String(sequence) == values[0] else {
      throw HubError(.malformed, "Skerry-Sequence is missing or no number")
    }
    return sequence
  }
}
