import Fleet
import Models
import Synchronization
import Trust

/// The hub's models by way of the neighbours. Each chunk has a home among the boxes that fetch the same model: that one
/// fetches it from the hub, once, and the others take it from there. A neighbour that is gone, slow or false costs a
/// try; the hub is always the last step, so that no neighbour can keep anything from this box.
final class SiteSource: FleetSource {
  private let hub: any FleetSource
  private let site: SiteService
  private let current = Mutex<SharedFetch?>(nil)

  init(hub: any FleetSource, site: SiteService) {
    self.hub = hub
    self.site = site
  }

  deinit { if let fetch = current.withLock({ $0 }) { site.end(fetch) } }

  // Metadata is never a neighbour's to give.
  func imageMetadata(_ file: String, limit: Int) async throws -> [UInt8]? {
    try await hub.imageMetadata(file, limit: limit)
  }
  func directorMetadata(_ file: String, limit: Int) async throws -> [UInt8]? {
    try await hub.directorMetadata(file, limit: limit)
  }

  func target(_ path: String, _ digest: Digest, limit: Int) async throws -> [UInt8] {
    try await hub.target(path, digest, limit: limit)
  }

  func index(_ digest: Digest, limit: Int) async throws -> [UInt8] {
    if let bytes = await site.index(digest, limit: limit) { return bytes }
    return try await hub.index(digest, limit: limit)
  }

  /// A file without chunks is the hub's to give: nobody could tell which part of it a neighbour made up.
  func file(
    of manifest: ModelManifest, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    try await hub.file(of: manifest, from: offset, take: take)
  }

  /// What this box is home of comes first: when the others ask for it, it is here.
  func arrange(_ missing: [UInt32], of manifest: ModelManifest, _ index: ChunkIndex) async -> [UInt32] {
    guard !missing.isEmpty, let signed = manifest.index else { return missing }
    let fetch = SharedFetch(
      manifest, index: signed.sha256, locator: ChunkLocator(index), missing: missing, hub: hub)
    if let before = current.withLock({ current in
      defer { current = fetch }
      return current
    }) {
      site.end(before)
    }
    await site.begin(fetch)
    let (own, shares) = (site.identity.key.verifyingKey, site.hood.shares)
    var (first, then): ([UInt32], [UInt32]) = ([], [])
    for number in missing {
      if SitePlan.isHome(of: index.id(Int(number)), own: own, isServing: site.isServing, others: shares) {
        first.append(number)
      } else {
        then.append(number)
      }
    }
    return first + then
  }

  func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] {
    guard let fetch = current.withLock({ $0 }), let place = fetch.locator.place(of: id) else {
      return try await hub.chunk(id, limit: limit)
    }
    let bytes = try await find(id, (place.number, place.length), fetch)
    fetch.arrived(id, bytes)
    return bytes
  }

  private func find(
    _ id: ChunkID, _ place: (number: Int, length: Int), _ fetch: SharedFetch
  ) async throws -> [UInt8] {
    if let kept = fetch.flights.kept(id) { return kept }
    let (own, hood) = (site.identity.key.verifyingKey, site.hood)
    var asked: [SitePlan.Step] = []
    var failure: any Error = CancellationError()
    if let flight = fetch.flights.underway(id), case .success(let bytes)? = await flight.wait() { return bytes }
    for step in SitePlan.steps(
      for: id, number: place.number, own: own, isServing: site.isServing, others: hood.shares)
    {
      try Task.checkCancellation()
      switch step {
      case .holder(let key), .home(let key):
        asked.append(step)
        guard let box = hood.box(key) else { continue }
        if let bytes = await site.take(id, place, of: fetch, from: box, step == .home(key) ? .fetched : .held) {
          return bytes
        }
      case .hub:
        do { return try await fromHub(id, place, fetch) } catch { failure = error }
      }
    }
    for step in SitePlan.lastResort(number: place.number, others: hood.shares, asked: asked) {
      try Task.checkCancellation()
      guard case .holder(let key) = step, let box = hood.box(key) else { continue }
      if let bytes = await site.take(id, place, of: fetch, from: box, .held) { return bytes }
    }
    throw failure
  }

  private func fromHub(
    _ id: ChunkID, _ place: (number: Int, length: Int), _ fetch: SharedFetch
  ) async throws -> [UInt8] {
    if let kept = fetch.flights.kept(id) { return kept }
    guard let result = await fetch.fetchFromHub(id, length: place.length).wait() else { throw CancellationError() }
    return try result.get()
  }
}
