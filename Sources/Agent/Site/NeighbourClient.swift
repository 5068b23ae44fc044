import Fleet
import Models
import Synchronization
import Trust
import Web

/// How long a neighbour is waited for.
struct SitePatience: Sendable {
  /// To accept a connection.
  var connect: Duration = .seconds(3)
  /// To answer what needs no fetching.
  var answer: Duration = .seconds(5)
  /// To answer with a chunk, which it may have to fetch: a little more than the time after which it says "come again".
  var chunk: Duration = .seconds(10)
  /// How long it may say "come again" about one chunk.
  var comeAgain: Duration = .seconds(60)
}

/// Requests to neighbours, each signed with this box's key and good for the one box that it is sent to.
final class NeighbourClient: Sendable {
  /// How a request for bytes ended.
  enum Answer: Sendable {
    case bytes([UInt8])
    case notHeld
    /// It is being fetched, or the neighbour is busy: ask again after so long.
    case comeAgain(Duration)
  }

  private let identity: DeviceIdentity
  private let hood: Neighbourhood
  private let http: HTTPClient
  private let patience: SitePatience
  private let now: @Sendable () -> Int64
  private let sequence = Atomic<UInt64>(0)
  /// One session is opened at a time with each.
  private let gates: [VerifyingKey: SerialGate]

  init(
    identity: DeviceIdentity, hood: Neighbourhood, http: HTTPClient, patience: SitePatience,
    now: @escaping @Sendable () -> Int64
  ) {
    self.patience = patience
    self.identity = identity
    self.hood = hood
    self.http = http
    self.now = now
    gates = Dictionary(uniqueKeysWithValues: hood.boxes.map { ($0.key, SerialGate()) })
  }

  /// Tells a neighbour what we have of a model and learns what it has. Throws `HTTPClientError`, `Refused`.
  func exchange(_ share: SiteMessages.Share, with box: Neighbourhood.Box) async throws -> SiteMessages.Share {
    let body = try JSONValue(encoding: share).encoded()
    // A list of chunks is one bit each: 64 KiB are enough for 30 GiB.
    let response = try await send("POST", box, "share", body: body, limit: 1 << 20, within: patience.answer)
    guard response.status == 200,
      let answer = try? JSONValue(parsing: response.body).decoded(as: SiteMessages.Share.self),
      answer.index == share.index
    else { throw Refused(status: response.status) }
    return answer
  }

  /// A chunk, compressed.
  func chunk(
    _ id: ChunkID, of index: Digest, from box: Neighbourhood.Box, _ wish: SiteMessages.Wish, limit: Int
  ) async throws -> Answer {
    let path = "\(index.hex)/chunks/\(id.hex)" + (wish == .held ? "" : "?\(wish.rawValue)")
    return try NeighbourClient.answer(
      try await send("GET", box, path, limit: limit, within: patience.chunk))
  }

  func index(_ digest: Digest, from box: Neighbourhood.Box, limit: Int) async throws -> Answer {
    // A second for each mebibyte more than a chunk has.
    let within = patience.chunk + .seconds(limit >> 20)
    return try NeighbourClient.answer(
      try await send("GET", box, "\(digest.hex)/index", limit: limit, within: within))
  }

  /// The neighbour answers, and not with what was asked for.
  struct Refused: Error { let status: Int }

  private static func answer(_ response: ClientResponse) throws -> Answer {
    switch response.status {
    case 200: return .bytes(response.body)
    case 404: return .notHeld
    case 503:
      let isFetching = (try? JSONValue(parsing: response.body))?["error"]?["code"]?.string == SiteServer.fetching
      return .comeAgain(isFetching ? .milliseconds(20) : .milliseconds(300))
    default: throw Refused(status: response.status)
    }
  }

  // MARK: sessions

  private func send(
    _ method: String, _ box: Neighbourhood.Box, _ path: String, body: [UInt8] = [], limit: Int, within: Duration
  ) async throws -> ClientResponse {
    let session = try await session(with: box, replacing: nil)
    let response = try await perform(method, box, path, body: body, session: session, limit: limit, within: within)
    // It has forgotten the session: it was started again, or we opened too many.
    guard response.status == 401 else { return response }
    let fresh = try await self.session(with: box, replacing: session)
    return try await perform(method, box, path, body: body, session: fresh, limit: limit, within: within)
  }

  private func session(with box: Neighbourhood.Box, replacing stale: String?) async throws -> String {
    if let known = hood.record(of: box).session, known != stale { return known }
    guard let gate = gates[box.key] else { throw Refused(status: 0) }
    return try await gate.run {
      if let known = hood.record(of: box).session, known != stale { return known }
      let response = try await perform(
        "POST", box, "session", body: [], session: nil, limit: 4096, within: patience.answer)
      guard response.status == 200,
        let opened = try? JSONValue(parsing: response.body).decoded(as: SiteMessages.Session.self),
        (16...128).contains(opened.session.utf8.count), opened.session.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
      else { throw Refused(status: response.status) }
      hood.change(box) { $0.session = opened.session }
      return opened.session
    }
  }

  private func perform(
    _ method: String, _ box: Neighbourhood.Box, _ path: String, body: [UInt8], session: String?, limit: Int,
    within: Duration
  ) async throws -> ClientResponse {
    let url = "https://\(box.address)" + SiteMessages.path(box.id, path)
    var headers = HTTPHeaders()
    HTTPMessageSignature.sign(
      method: method, url: url, headers: &headers, body: body, keyID: identity.id.hex, key: identity.key,
      created: now(), nonce: session, sequence: sequence.wrappingAdd(1, ordering: .relaxed).newValue)
    var request = ClientRequest(
      method: method, url: url, headers: headers, body: method == "GET" ? .none : .bytes(body))
    request.pin = box.pin
    request.connectTimeout = min(patience.connect, within)
    request.totalTimeout = within
    request.maxResponseBytes = max(limit, 4096)
    return try await http.send(request)
  }
}
