import Fleet
import Host
import Synchronization
import Trust

/// What this box knows of its neighbours and keeps of them, while it runs.
final class Neighbourhood: Sendable {
  /// A box of the site, as configured.
  struct Box: Sendable, Hashable {
    let name: String
    /// `host:port`.
    let address: String
    let key: VerifyingKey
    let id: DeviceID
    let pin: String

    init(_ neighbour: SiteConfiguration.Neighbour) {
      name = neighbour.name
      address = neighbour.address
      key = neighbour.key
      id = DeviceID(key: neighbour.key)
      pin = TLSIdentity.pin(of: neighbour.key)
    }
  }

  /// What one neighbour gave and took, and how it behaved.
  struct Record: Sendable {
    var conduct = NeighbourConduct()
    /// The session that it opened for us.
    var session: String?
    var takenChunks = 0
    var takenBytes: UInt64 = 0
    var servedChunks = 0
    var servedBytes: UInt64 = 0
    /// Its last word to us or from us, in Unix seconds.
    var lastSeen: Int64?
    /// Requests of it that are worked on.
    var inFlight = 0
  }

  private struct State: Sendable {
    var records: [VerifyingKey: Record] = [:]
    /// What each has of the model that is being fetched.
    var shares: [VerifyingKey: SitePlan.Share] = [:]
  }

  let boxes: [Box]
  private let byID: [String: Box]
  private let byKey: [VerifyingKey: Box]
  private let state = Mutex(State())

  /// The box's own entry is passed over.
  init(_ configured: [SiteConfiguration.Neighbour], own: VerifyingKey) {
    boxes = configured.filter { $0.key != own }.map { Box($0) }
    byID = Dictionary(boxes.map { ($0.id.hex, $0) }, uniquingKeysWith: { first, _ in first })
    byKey = Dictionary(boxes.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
  }

  func box(id: String) -> Box? { byID[id] }
  func box(_ key: VerifyingKey) -> Box? { byKey[key] }

  static var now: Double { Clock.monotonic() / .seconds(1) }

  func record(of box: Box) -> Record { state.withLock { $0.records[box.key] ?? Record() } }

  func change<T>(_ box: Box, _ body: (inout Record) -> T) -> T {
    state.withLock { body(&$0.records[box.key, default: Record()]) }
  }

  /// The boxes that are not resting.
  var askable: [Box] {
    let now = Neighbourhood.now
    return state.withLock { state in
      boxes.filter { state.records[$0.key]?.conduct.isAsked(at: now) ?? true }
    }
  }

  func isAsked(_ box: Box) -> Bool {
    let now = Neighbourhood.now
    return state.withLock { $0.records[box.key]?.conduct.isAsked(at: now) ?? true }
  }

  /// Takes note; true when the neighbour goes to rest for it. Then it is nobody's home any more.
  func note(_ event: NeighbourConduct.Event, of box: Box) -> Bool {
    let now = Neighbourhood.now
    return state.withLock { state in
      let rests = state.records[box.key, default: Record()].conduct.note(event, at: now)
      if rests { state.shares[box.key] = nil }
      return rests
    }
  }

  // MARK: the model that is being fetched

  /// What each neighbour that is not resting has of it.
  var shares: [VerifyingKey: SitePlan.Share] { state.withLock(\.shares) }

  func forgetShares() { state.withLock { $0.shares = [:] } }

  /// What a neighbour says of itself. Words cross on the way, so that an older one only ever adds: what turns out not to
  /// be so is taken back by `mark` and `forget`.
  func learn(_ share: SitePlan.Share?, of box: Box) {
    guard let share else { return }
    let now = Neighbourhood.now
    state.withLock { state in
      guard state.records[box.key]?.conduct.isAsked(at: now) ?? true else { return }
      switch (state.shares[box.key], share) {
      case (.whole?, _): break
      case (.fetching(let known)?, .fetching(let told)): state.shares[box.key] = .fetching(known.union(told))
      default: state.shares[box.key] = share
      }
    }
  }

  /// It is not fetching the model after all.
  func forget(_ box: Box) { state.withLock { $0.shares[box.key] = nil } }

  /// The neighbour has this chunk now, or turned out not to.
  func mark(_ number: Int, of box: Box, isHeld: Bool) {
    state.withLock { state in
      guard case .fetching(var set)? = state.shares[box.key] else { return }
      if isHeld { set.insert(number) } else { set.remove(number) }
      state.shares[box.key] = .fetching(set)
    }
  }
}
