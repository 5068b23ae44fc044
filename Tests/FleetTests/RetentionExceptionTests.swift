import FoundationEssentials
import Testing
import Trust

@testable import Fleet

@Suite struct RetentionExceptionTests {
  private func exception(
    days: Int = 30, reason: String = "works council", issued: Int64 = 1000, expires: Int64 = 1000 + 86_400,
    id: String = "5f0c2a9e1b7d4e63"
  ) -> RetentionException {
    RetentionException(id: id, days: days, reason: reason, issued: issued, expires: expires, issuedBy: "operator:first")
  }

  @Test func theFloorHoldsUnlessAnExceptionDoes() {
    func days(_ configured: Int, _ exception: RetentionException?, at now: Int64 = 2000) -> Int {
      RetentionException.days(configured: configured, exception: exception, at: now)
    }
    #expect(days(400, nil) == 400 && days(180, nil) == 180 && days(1, nil) == 180)
    // Both must say so: what is configured, and the fleet.
    #expect(days(400, exception()) == 400 && days(30, exception()) == 30 && days(7, exception()) == 30)
    #expect(days(30, exception(), at: 1000 + 86_399) == 30 && days(30, exception(), at: 1000 + 86_400) == 180)
    for unsound in [
      exception(days: 0), exception(days: -5), exception(days: 180), exception(reason: "short"),
      exception(reason: "a\u{2028}long enough reason"), exception(expires: 1000 + 60),
      exception(expires: 1000 + 367 * 86_400), exception(id: "x"), exception(issued: -1),
    ] {
      #expect(!unsound.isSound && days(1, unsound) == 180, "\(unsound)")
    }
  }

  @Test func aStatementCarriesIt() throws {
    let key = SigningKey.generate()
    func statement(_ change: (TUFSigned) throws -> TUFSigned) throws -> TUFTargets {
      let signed = TUFWriter.targets(version: 1, expires: Date(timeIntervalSince1970: 4_000_000_000), targets: [])
      return try TUFTargets(TUFDocument(parsing: change(signed).signed(by: [key]), as: .targets))
    }
    #expect(try statement { try $0.adding(exception()) }.retention == exception())
    #expect(try statement { try $0.adding(RetentionException?.none) }.retention == nil)
    #expect(try statement { try $0.adding(exception(days: 500)) }.retention == nil)
    #expect(try statement { $0.with("retention", ["days": 30]) }.retention == nil)
    #expect(try statement { $0.with("retention", "30") }.retention == nil)
  }
}
