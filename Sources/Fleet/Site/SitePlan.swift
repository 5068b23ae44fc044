import Trust

/// Where a box of a site turns for a chunk, decided from what it knows of the others.
public enum SitePlan {
  /// What another box has of one model.
  public enum Share: Hashable, Sendable {
    case whole
    /// It is fetching too, and has these chunks, or is about to have them from the hub.
    case fetching(ChunkSet)
  }

  public enum Step: Hashable, Sendable {
    /// Ask this box for what it holds already.
    case holder(VerifyingKey)
    /// Ask this box, which fetches the chunk from the hub when it lacks it.
    case home(VerifyingKey)
    case hub
  }

  /// How many boxes are asked at most before the hub is.
  public static let tries = 3

  /// The steps for chunk `number`, to be taken in this order until one succeeds. `isServing` is whether the others can
  /// ask this box: if they can't, it is nobody's home.
  public static func steps(
    for chunk: Digest, number: Int, own: VerifyingKey, isServing: Bool, others: [VerifyingKey: Share]
  ) -> [Step] {
    let fetching = others.filter { if case .fetching = $0.value { true } else { false } }.keys
    let holders = others.filter { holds($0.value, number) }.keys
    var steps: [Step] = Rendezvous.order(of: chunk, among: holders).prefix(tries - 1).map { .holder($0) }
    let members = isServing ? Array(fetching) + [own] : Array(fetching)
    for box in Rendezvous.order(of: chunk, among: members) {
      if box == own || steps.count >= tries { break }
      if !steps.contains(.holder(box)) { steps.append(.home(box)) }
    }
    return steps + [.hub]
  }

  /// When the hub can't be had: everybody who may hold the chunk and was not asked yet.
  public static func lastResort(number: Int, others: [VerifyingKey: Share], asked: [Step]) -> [Step] {
    others.keys.filter { !asked.contains(.holder($0)) && !asked.contains(.home($0)) }
      .sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }.map { .holder($0) }
  }

  /// True when this box fetches the chunk from the hub for all.
  public static func isHome(
    of chunk: Digest, own: VerifyingKey, isServing: Bool, others: [VerifyingKey: Share]
  ) -> Bool {
    let fetching = others.filter { if case .fetching = $0.value { true } else { false } }.keys
    return isServing && Rendezvous.home(of: chunk, among: Array(fetching) + [own]) == own
  }

  private static func holds(_ share: Share, _ number: Int) -> Bool {
    switch share {
    case .whole: true
    case .fetching(let held): held.contains(number)
    }
  }
}
