import Fleet
import Host
import Models
import Storage
import Synchronization
import Trust
import Web

/// Site sharing: boxes of one site fetch a model once over the wide-area network and give its chunks to each other.
/// What comes from a neighbour is only ever bytes that signed metadata names by their digest; metadata itself never does.
final class SiteService: Sendable {
  /// What the service asks of the rest of the agent.
  struct Surroundings: Sendable {
    let audit: AuditWriter
    /// The model with this chunk index, when its file is here and was verified.
    let whole: @Sendable (Digest) async -> ModelManifest?
    let now: @Sendable () -> Int64
  }

  let configuration: SiteConfiguration
  let identity: DeviceIdentity
  let hood: Neighbourhood
  let chunks: LocalChunks
  let surroundings: Surroundings
  private let http = HTTPClient()
  private let client: NeighbourClient
  private let patience: SitePatience

  private struct State {
    var fetch: SharedFetch?
    var refresher: Task<Void, Never>?
    var listener: Task<Void, Never>?
    var server: HTTPServer?
    var port: Int?
    var problem: String?
    var isStopped = false
    var fromHub: UInt64 = 0
  }
  private let state = Mutex(State())
  /// Requests refused before anybody could be told apart.
  let strangers = Atomic<Int>(0)

  init(
    configuration: SiteConfiguration, identity: DeviceIdentity, store: ContentStore, surroundings: Surroundings,
    patience: SitePatience = SitePatience()
  ) {
    self.patience = patience
    self.configuration = configuration
    self.identity = identity
    self.surroundings = surroundings
    hood = Neighbourhood(configuration.neighbours, own: identity.key.verifyingKey)
    chunks = LocalChunks(store: store)
    client = NeighbourClient(identity: identity, hood: hood, http: http, patience: patience, now: surroundings.now)
  }

  var isServing: Bool { configuration.listen != nil && !hood.boxes.isEmpty }

  /// The source that a sync fetches models from: the neighbours where they can help, and this one.
  func source(over hub: any FleetSource) -> any FleetSource {
    hood.boxes.isEmpty ? hub : SiteSource(hub: hub, site: self)
  }

  // MARK: life

  /// Begins to serve where it is configured. An address that isn't there yet, as before the network is up, is tried
  /// again; nothing else waits for it.
  func start() {
    guard isServing, let address = configuration.listen.flatMap(AgentConfiguration.address) else { return }
    let task = Task { [weak self] in
      var told = false
      while !Task.isCancelled, let site = self, !site.listens(at: address, tell: !told) {
        told = true
        try? await Task.sleep(for: .seconds(5))
      }
    }
    state.withLock { $0.listener = task }
  }

  private func listens(at address: (host: String, port: Int), tell: Bool) -> Bool {
    do {
      let server = try SiteServer(site: self).server(at: address)
      try server.start()
      let port = server.boundPorts.first
      let isLate = state.withLock { state in
        guard !state.isStopped else { return true }
        (state.server, state.port, state.problem) = (server, port, nil)
        return false
      }
      if isLate {
        Task { await server.stop() }
      } else {
        Log.shared.info("serving neighbours", ["address": "\(address.host):\(port ?? 0)"])
      }
      return true
    } catch {
      state.withLock { $0.problem = "\(error)" }
      if tell { Log.shared.warning("neighbours can't be served yet; tried again", ["reason": "\(error)"]) }
      return false
    }
  }

  func stop() async {
    let (listener, refresher, server, fetch) = state.withLock { state in
      state.isStopped = true
      defer { (state.server, state.fetch) = (nil, nil) }
      return (state.listener, state.refresher, state.server, state.fetch)
    }
    listener?.cancel()
    refresher?.cancel()
    fetch?.flights.end()
    await server?.stop()
    await http.close()
  }

  /// The port that is listened on; nil while none is.
  var port: Int? { state.withLock(\.port) }
  /// Why nothing listens although it should.
  var problem: String? { state.withLock(\.problem) }
  /// Bytes of chunks that this box fetched from the hub for itself and for its neighbours.
  var bytesFromHub: UInt64 { state.withLock { $0.fromHub + ($0.fetch?.fromHub ?? 0) } }

  // MARK: the model that is being fetched

  /// The fetch that is under way of the model with this index.
  func fetch(of index: Digest) -> SharedFetch? {
    state.withLock { $0.fetch?.index == index ? $0.fetch : nil }
  }

  /// Tells the neighbours, learns what they have, and keeps at it until `end`.
  func begin(_ fetch: SharedFetch) async {
    let before = state.withLock { state in
      defer { state.fetch = fetch }
      state.fromHub += state.fetch?.fromHub ?? 0
      return (state.fetch, state.refresher)
    }
    before.1?.cancel()
    before.0?.flights.end()
    hood.forgetShares()
    await announce(fetch)
    Log.shared.debug(
      "sharing begins",
      [
        "model": fetch.manifest.label,
        "with": hood.shares.keys.compactMap { hood.box($0)?.name }.sorted().joined(separator: " "),
      ])
    fetch.settled.land(.success([]))
    // Lists grow with the model, and so does the time between them.
    let interval = Duration.milliseconds(max(2000, fetch.locator.count / 20))
    let refresher = Task { [weak self, weak fetch] in
      while true {
        do { try await Task.sleep(for: interval) } catch { return }
        guard let self, let fetch else { return }
        await self.announce(fetch)
      }
    }
    let isCurrent = state.withLock { state in
      guard state.fetch === fetch else { return false }
      state.refresher = refresher
      return true
    }
    if !isCurrent { refresher.cancel() }
  }

  func end(_ fetch: SharedFetch) {
    fetch.flights.end()
    fetch.settled.land(.failure(CancellationError()))
    let refresher = state.withLock { state -> Task<Void, Never>? in
      guard state.fetch === fetch else { return nil }
      state.fromHub += fetch.fromHub
      state.fetch = nil
      return state.refresher
    }
    refresher?.cancel()
  }

  /// What the neighbours are told of a model.
  func ownShare(of index: Digest) async -> SiteMessages.Share {
    if let fetch = fetch(of: index) {
      return SiteMessages.Share(index: index, state: isServing ? .fetching : .none, chunks: fetch.announced)
    }
    let isWhole = await surroundings.whole(index) != nil
    return SiteMessages.Share(index: index, state: isWhole && isServing ? .whole : .none)
  }

  private func announce(_ fetch: SharedFetch) async {
    let share = await ownShare(of: fetch.index)
    _ = await exchange(share) { [weak self] box, answer in
      guard let self, self.fetch(of: fetch.index) === fetch else { return }
      self.hood.learn(answer.meaning(count: fetch.locator.count), of: box)
    }
  }

  /// Tells all neighbours that are not resting the same, at the same time; what those that answer have.
  /// `each` is told of an answer as soon as it is here.
  func exchange(
    _ share: SiteMessages.Share,
    each: @escaping @Sendable (Neighbourhood.Box, SiteMessages.Share) -> Void = { _, _ in }
  ) async -> [(Neighbourhood.Box, SiteMessages.Share)] {
    await withTaskGroup(of: (Neighbourhood.Box, SiteMessages.Share)?.self) { group in
      for box in hood.askable {
        group.addTask {
          do {
            let answer = try await self.client.exchange(share, with: box)
            self.heard(box)
            each(box, answer)
            return (box, answer)
          } catch {
            await self.trouble(error, with: box)
            return nil
          }
        }
      }
      var answers: [(Neighbourhood.Box, SiteMessages.Share)] = []
      for await answer in group { if let answer { answers.append(answer) } }
      return answers
    }
  }

  func heard(_ box: Neighbourhood.Box) { hood.change(box) { $0.lastSeen = surroundings.now() } }

  // MARK: taking

  /// A chunk from a neighbour, checked; nil when it does not come, which the neighbour's record tells of.
  func take(
    _ id: ChunkID, _ place: (number: Int, length: Int), of fetch: SharedFetch, from box: Neighbourhood.Box,
    _ wish: SiteMessages.Wish, isOnce: Bool = false
  ) async -> [UInt8]? {
    let deadline = ContinuousClock.now + patience.comeAgain
    while !Task.isCancelled, hood.isAsked(box) {
      do {
        let answer = try await client.chunk(
          id, of: fetch.index, from: box, wish, limit: SharedFetch.limit(of: place.length))
        switch answer {
        case .bytes(let bytes):
          guard await SharedFetch.isRight(bytes, id, length: place.length) else {
            await lied(box, "chunk \(id.hex.prefix(12))… of \(fetch.manifest.label) has another content")
            return nil
          }
          took(bytes.count, place.number, from: box)
          return bytes
        case .notHeld:
          missed(place.number, by: box, isHome: wish != .held)
          return nil
        case .comeAgain(let wait):
          // Somebody waits for us, and asks again.
          if isOnce { return nil }
          guard ContinuousClock.now < deadline else {
            await note(.slow, of: box, "it says \"come again\" for more than \(patience.comeAgain)")
            return nil
          }
          try await Task.sleep(for: wait)
        }
      } catch {
        await trouble(error, with: box)
        return nil
      }
    }
    return nil
  }

  private func took(_ bytes: Int, _ number: Int, from box: Neighbourhood.Box) {
    _ = hood.note(.answered, of: box)
    hood.mark(number, of: box, isHeld: true)
    hood.change(box) { record in
      record.takenChunks += 1
      record.takenBytes += UInt64(bytes)
      record.lastSeen = surroundings.now()
    }
  }

  private func missed(_ number: Int, by box: Neighbourhood.Box, isHome: Bool) {
    hood.mark(number, of: box, isHeld: false)
    // It is no longer, or not yet, fetching this model: nobody's home until it says so.
    if isHome { hood.forget(box) }
    _ = hood.note(.missed, of: box)
  }

  /// A chunk index from a neighbour that has it; the caller checks it against the signed digest.
  func index(_ digest: Digest, limit: Int) async -> [UInt8]? {
    let having = await exchange(SiteMessages.Share(index: digest, state: .none)).filter { $0.1.state != .none }
    for box in Rendezvous.order(of: digest, among: having.map(\.0.key)).prefix(SitePlan.tries).compactMap(hood.box) {
      do {
        guard case .bytes(let bytes) = try await client.index(digest, from: box, limit: limit) else { continue }
        guard Digest(of: bytes) == digest else {
          await lied(box, "the chunk index \(digest.hex.prefix(12))… has another content")
          continue
        }
        hood.change(box) { $0.takenBytes += UInt64(bytes.count) }
        return bytes
      } catch {
        await trouble(error, with: box)
      }
    }
    return nil
  }

  // MARK: neighbours that fail

  private func trouble(_ error: any Error, with box: Neighbourhood.Box) async {
    switch error {
    case let error as HTTPClientError:
      switch error.kind {
      case .cancelled: return
      case .pinMismatch: await note(.refused, of: box, "its key is not the one that is configured for it")
      case .tls: await note(.refused, of: box, error.message)
      case .timeout: await note(.slow, of: box, error.message)
      case .tooLarge: await lied(box, error.message)
      case .unreachable, .cut, .other: await note(.failed, of: box, error.message)
      }
    case let error as NeighbourClient.Refused:
      if error.status == 503 {
        await note(.failed, of: box, "it is busy")
      } else {
        await note(.refused, of: box, "it answers \(error.status); does it name this box's key?")
      }
    case is CancellationError: return
    default: await note(.failed, of: box, "\(error)")
    }
  }

  private func note(_ event: NeighbourConduct.Event, of box: Neighbourhood.Box, _ reason: String) async {
    guard hood.note(event, of: box) else { return }
    Log.shared.warning(
      "a neighbour is left alone for a while", ["neighbour": box.name, "address": box.address, "reason": reason])
  }

  private func lied(_ box: Neighbourhood.Box, _ reason: String) async {
    guard hood.note(.lied, of: box) else { return }
    Log.shared.error("a neighbour sent false bytes and is left alone", ["neighbour": box.name, "reason": reason])
    await attack(.lyingNeighbour, by: box, reason)
  }

  /// A record that names the attack. The bytes were refused already: a log that can't take it changes nothing.
  func attack(_ attack: Attack, by box: Neighbourhood.Box, _ reason: String) async {
    let report = AttackReport(attack, role: "neighbour", reason: "\(box.name) (device \(box.id)): \(reason)")
    try? await report.record(to: surroundings.audit)
  }
}

extension ModelRegistry {
  /// The model with this chunk index, when its file is here and was verified.
  func verified(index: Digest) -> ModelManifest? {
    models.first { model in
      model.manifest.index?.sha256 == index && (model.state == .active || model.state == .staged)
    }?.manifest
  }
}
