import Fleet
import Host
import Models
import Synchronization
import Trust
import Web

/// What named neighbours may read here: chunks and chunk indexes of models that this box has verified or is fetching.
/// Everybody else learns nothing, not even whether a path exists.
final class SiteServer: Sendable {
  /// The code of the answer that a chunk is on its way.
  static let fetching = "fetching"
  /// How long a request waits for a chunk that is on its way, before that answer.
  private static let wait: Duration = .seconds(4)
  /// A list of chunks is one bit each, in base64: enough for 45 GiB.
  private static let largestBody = 128 << 10

  // The service holds the server, and with it this.
  private weak let site: SiteService?
  private let own: DeviceID
  private let sessions = Mutex(SiteSessions())
  private let openings = Mutex<[VerifyingKey: (tokens: Double, at: Double)]>([:])
  private let replays = Mutex<[VerifyingKey: Double]>([:])
  private let pacer: Pacer

  init(site: SiteService) {
    self.site = site
    own = site.identity.id
    pacer = Pacer(bytesPerSecond: site.configuration.bytesPerSecond)
  }

  /// The server, not started. Throws `TLSIdentityError`.
  func server(at address: (host: String, port: Int)) throws -> HTTPServer {
    guard let site else { throw CancellationError() }
    let settings = site.configuration
    let tls = try TLSIdentity.selfSigned(key: site.identity.key, commonName: own.hex)
    var made = HTTPServer.Configuration(listeners: [.tcp(host: address.host, port: address.port)])
    made.tls = (tls.keyPEM, tls.certificatePEM)
    made.isTLS13Only = true
    made.maxBody = SiteServer.largestBody
    made.maxHeader = 8 * 1024
    made.maxConnections = settings.maxConnections
    // Nobody takes all of them.
    made.maxConnectionsPerAddress = max(2, settings.maxConnections / 2)
    made.maxInFlight = min(settings.maxConnections, site.hood.boxes.count * settings.maxInFlight + 8)
    made.requestDeadline = .seconds(30)
    made.headDeadline = .seconds(10)
    made.idleTimeout = .seconds(30)
    return HTTPServer(made, handler: handler())
  }

  func handler() -> HTTPServer.Handler {
    { request in
      let (box, body, isOpening) = try await self.authenticate(request)
      guard let site = self.site else { throw HTTPFailure(503, "stopping", "The box is stopping.") }
      guard
        site.hood.change(
          box,
          { record in
            guard record.inFlight < site.configuration.maxInFlight else { return false }
            record.inFlight += 1
            return true
          })
      else { throw SiteServer.busy }
      defer { site.hood.change(box) { $0.inFlight -= 1 } }
      site.heard(box)
      if isOpening { return try await self.open(for: box, site) }
      return try await self.answer(request, body, to: box, site)
    }
  }

  // MARK: who asks

  /// The neighbour that signed the request, once it is shown to be meant for this box, and new.
  private func authenticate(
    _ request: HTTPRequest
  ) async throws -> (box: Neighbourhood.Box, body: [UInt8], isOpening: Bool) {
    guard let site, let name = HTTPMessageSignature.keyID(request.headers), let box = site.hood.box(id: name) else {
      throw refusal()
    }
    let body = try await request.body.collect(upTo: SiteServer.largestBody)
    let said: HTTPMessageSignature.Parameters
    do {
      said = try HTTPMessageSignature.verify(
        method: request.method, authority: request.headers["host"] ?? "", target: request.target,
        headers: request.headers, body: body, key: box.key)
    } catch { throw refusal() }
    let numbers = request.headers.values(HTTPMessageSignature.sequenceField)
    guard numbers.count == 1, let number = UInt64(numbers[0]), String(number) == numbers[0],
      request.target.hasPrefix(SiteMessages.path(own, ""))
    else { throw refusal() }
    if request.method == "POST", request.target == SiteMessages.path(own, "session") { return (box, body, true) }
    switch sessions.withLock({ $0.admit(said.nonce, from: box.key, sequence: number) }) {
    case .admitted: return (box, body, false)
    case .unknown: throw HTTPFailure(401, "session", "Open a session first.")
    case .replayed:
      await replayed(by: box, site)
      throw HTTPFailure(403, "replay", "This request was made before.")
    }
  }

  /// The same for all whom this box does not know, whatever they ask for.
  private func refusal() -> HTTPFailure {
    site?.strangers.wrappingAdd(1, ordering: .relaxed)
    return HTTPFailure(401, "unauthorized", "Neighbours only.")
  }

  private static let busy: HTTPFailure = {
    var failure = HTTPFailure(503, "busy", "Too many requests at the same time.")
    failure.headers["Retry-After"] = "1"
    return failure
  }()

  /// At most one record a minute for each neighbour.
  private func replayed(by box: Neighbourhood.Box, _ site: SiteService) async {
    let now = Neighbourhood.now
    let isDue = replays.withLock { last in
      if let before = last[box.key], now - before < 60 { return false }
      last[box.key] = now
      return true
    }
    if isDue { await site.attack(.replay, by: box, "a request that it signed came twice") }
  }

  /// On record before anything is served.
  private func open(for box: Neighbourhood.Box, _ site: SiteService) async throws -> HTTPResponse {
    let now = Neighbourhood.now
    // Eight at once, then one in five seconds: each is a record in the audit log.
    let isAllowed = openings.withLock { openings in
      let before = openings[box.key] ?? (8, now)
      let tokens = min(8, before.tokens + (now - before.at) / 5)
      openings[box.key] = (tokens >= 1 ? tokens - 1 : tokens, now)
      return tokens >= 1
    }
    guard isAllowed else { throw SiteServer.busy }
    do {
      try await site.surroundings.audit(
        .site, "system",
        ["event": "session", "neighbour": .string(box.name), "device": .string(box.id.hex)])
    } catch { throw HTTPFailure(503, "audit", "The box can't keep records now.") }
    let name = Base64.encodeURL(SecureRandom.bytes(24))
    sessions.withLock { $0.open(name, for: box.key) }
    return .json(200, try JSONValue(encoding: SiteMessages.Session(session: name)))
  }

  // MARK: what is asked

  private func answer(
    _ request: HTTPRequest, _ body: [UInt8], to box: Neighbourhood.Box, _ site: SiteService
  ) async throws -> HTTPResponse {
    let rest = request.target.dropFirst(SiteMessages.path(own, "").count)
    let sides = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let parts = sides[0].split(separator: "/", omittingEmptySubsequences: false)
    let query = sides.count > 1 ? sides[1] : ""
    switch (request.method, parts.count) {
    case ("POST", 1) where parts[0] == "share" && query.isEmpty: return try await share(body, box, site)
    case ("GET", 2) where parts[1] == "index" && query.isEmpty:
      guard let digest = Digest(hex: parts[0]) else { break }
      return try await index(digest, box, site)
    case ("GET", 3) where parts[1] == "chunks":
      guard let index = Digest(hex: parts[0]), let id = Digest(hex: parts[2]),
        let wish = SiteMessages.Wish(rawValue: String(query))
      else { break }
      return try await chunk(id, of: index, wish, box, site)
    default: break
    }
    throw SiteServer.nothing
  }

  private static let nothing = HTTPFailure(404, "not_held", "This box does not have it.")

  private func share(_ body: [UInt8], _ box: Neighbourhood.Box, _ site: SiteService) async throws -> HTTPResponse {
    guard let told = try? JSONValue(parsing: body).decoded(as: SiteMessages.Share.self) else {
      throw HTTPFailure(400, "malformed", "This is no share.")
    }
    if let fetch = site.fetch(of: told.index), told.state != .none {
      site.hood.learn(told.meaning(count: fetch.locator.count), of: box)
    }
    return .json(200, try JSONValue(encoding: await site.ownShare(of: told.index)))
  }

  private func index(_ digest: Digest, _ box: Neighbourhood.Box, _ site: SiteService) async throws -> HTTPResponse {
    let isKnown = await site.surroundings.whole(digest) != nil || site.fetch(of: digest) != nil
    guard isKnown, let bytes = try await site.chunks.index(digest) else { throw SiteServer.nothing }
    return try await give(bytes, to: box, site)
  }

  private func chunk(
    _ id: ChunkID, of index: Digest, _ wish: SiteMessages.Wish, _ box: Neighbourhood.Box, _ site: SiteService
  ) async throws -> HTTPResponse {
    if let fetch = site.fetch(of: index), let place = fetch.locator.place(of: id) {
      if let bytes = try await find(id, (place.number, place.length), in: fetch, wish, for: box, site) {
        let response = try await give(bytes, to: box, site)
        site.hood.mark(place.number, of: box, isHeld: true)
        return response
      }
    } else if let model = await site.surroundings.whole(index),
      let bytes = try await site.chunks.chunk(id, index: index, file: model.sha256)
    {
      return try await give(bytes, to: box, site)
    }
    throw SiteServer.nothing
  }

  /// A chunk of the model that this box is fetching.
  private func find(
    _ id: ChunkID, _ place: (number: Int, length: Int), in fetch: SharedFetch, _ wish: SiteMessages.Wish,
    for box: Neighbourhood.Box, _ site: SiteService
  ) async throws -> [UInt8]? {
    if let kept = fetch.flights.kept(id) { return kept }
    if fetch.holds(place.number), let bytes = try await site.chunks.chunk(id, of: fetch) { return bytes }
    let deadline = ContinuousClock.now + SiteServer.wait
    if wish != .held, await fetch.settled.wait(atMost: SiteServer.wait) == nil { throw SiteServer.onItsWay }
    var flight = fetch.flights.underway(id)
    if flight == nil, wish != .held {
      if let bytes = try await fromElsewhere(id, place, fetch, wish, besides: box, site) { return bytes }
    }
    if wish != .held { flight = fetch.fetchFromHub(id, length: place.length, for: box.name) }
    guard let flight else { return nil }
    switch await flight.wait(atMost: max(.zero, deadline - ContinuousClock.now)) {
    case .success(let bytes): return bytes
    case .failure: return nil
    case nil: throw SiteServer.onItsWay
    }
  }

  private static let onItsWay = HTTPFailure(503, fetching, "The chunk is on its way.")

  /// From a box that has the chunk already, or is its home as this box sees the site: while boxes come and go they may
  /// see it differently for a moment.
  private func fromElsewhere(
    _ id: ChunkID, _ place: (number: Int, length: Int), _ fetch: SharedFetch, _ wish: SiteMessages.Wish,
    besides asker: Neighbourhood.Box, _ site: SiteService
  ) async throws -> [UInt8]? {
    let own = site.identity.key.verifyingKey
    let others = site.hood.shares.filter { $0.key != asker.key }
    let first = SitePlan.steps(for: id, number: place.number, own: own, isServing: true, others: others).first
    let bytes: [UInt8]?
    switch first {
    case .holder(let key)?:
      guard let holder = site.hood.box(key) else { return nil }
      bytes = await site.take(id, place, of: fetch, from: holder, .held, isOnce: true)
    case .home(let key)? where wish == .fetched:
      guard let home = site.hood.box(key) else { return nil }
      bytes = await site.take(id, place, of: fetch, from: home, .forwarded, isOnce: true)
      // It is fetching.
      if bytes == nil, site.hood.shares[key] != nil { throw SiteServer.onItsWay }
    case .home?, .hub?, nil: return nil
    }
    if let bytes { fetch.flights.keep(id, bytes) }
    return bytes
  }

  /// Sends bytes no faster than is configured, and counts them.
  private func give(_ bytes: [UInt8], to box: Neighbourhood.Box, _ site: SiteService) async throws -> HTTPResponse {
    guard let wait = pacer.turn(for: bytes.count) else { throw SiteServer.busy }
    if wait > .zero { try await Task.sleep(for: wait) }
    site.hood.change(box) { record in
      record.servedChunks += 1
      record.servedBytes += UInt64(bytes.count)
    }
    return HTTPResponse(status: 200, headers: ["Content-Type": "application/octet-stream"], body: .bytes(bytes))
  }
}

/// Spreads bytes over time.
private final class Pacer: Sendable {
  private let bytesPerSecond: Int
  private let free = Mutex<Duration>(.zero)
  /// Who would have to wait longer is told to come back.
  private static let longest: Duration = .seconds(3)

  init(bytesPerSecond: Int) { self.bytesPerSecond = bytesPerSecond }

  /// How long to wait before sending; nil when that is too long.
  func turn(for bytes: Int) -> Duration? {
    guard bytesPerSecond > 0 else { return .zero }
    let now = Clock.monotonic()
    return free.withLock { free in
      let start = max(free, now)
      guard start - now <= Pacer.longest else { return nil }
      free = start + .seconds(1) * Double(bytes) / Double(bytesPerSecond)
      return start - now
    }
  }
}
