import Fleet
import Models
import Testing
import Trust

extension Fuzz {
  /// What neighbours say of themselves, and what is made of it.
  @Test func siteShares() throws {
    let index = Digest(of: Array("index".utf8))
    var held = ChunkSet(count: 100)
    for number in stride(from: 0, to: 100, by: 7) { held.insert(number) }
    let shares = [
      SiteMessages.Share(index: index, state: .fetching, chunks: held), .init(index: index, state: .whole),
      .init(index: index, state: .none),
    ]
    let own = SigningKey.generate().verifyingKey
    let other = SigningKey.generate().verifyingKey
    Self.feed("site share", try shares.map { try JSONValue(encoding: $0).encoded() }) { input in
      let share = try JSONValue(parsing: input).decoded(as: SiteMessages.Share.self)
      let again = try JSONValue(parsing: try JSONValue(encoding: share).encoded())
      #expect(try again.decoded(as: SiteMessages.Share.self) == share)
      for count in [0, 1, 99, 100, 101] {
        guard let meaning = share.meaning(count: count) else { continue }
        if case .fetching(let set) = meaning {
          #expect(set.count == count)
          #expect(set.size <= count)
        }
        let steps = SitePlan.steps(for: index, number: 5, own: own, isServing: true, others: [other: meaning])
        #expect(steps.last == .hub)
        #expect(steps.count <= SitePlan.tries + 1)
      }
    }
    Self.feed("site session", [Array(#"{"session":"0123456789abcdef"}"#.utf8)]) {
      _ = try JSONValue(parsing: $0).decoded(as: SiteMessages.Session.self)
    }
  }
}
