import Fleet
import Testing
import Trust

@Suite struct MessagesTests {
  @Test func anUnknownErrorCodeIsKept() throws {
    let json = try JSONValue(parsing: Array(#"{"error":{"code":"from_the_future","message":"m"}}"#.utf8))
    let error: HubError = try json.decoded()
    #expect(error.code == .unknown("from_the_future"))
    #expect(!error.code.isPermanent)
    #expect(try JSONValue(encoding: error) == json)
  }

  @Test(arguments: [
    HubErrorCode.tokenUsed, .tokenExpired, .tokenUnknown, .staleSequence, .badSignature, .unknownDevice,
    .deviceRevoked, .unauthorized, .notFound, .methodNotAllowed, .malformed, .tooLarge, .conflict, .invalidMetadata,
    .notPublished, .busy, .internalError,
  ])
  func everyCodeHasItsOwnSpelling(code: HubErrorCode) {
    #expect(HubErrorCode(code.description) == code)
  }

  @Test func theSpellingsOfTheContract() {
    #expect(HubErrorCode("token_used") == .tokenUsed)
    #expect(HubErrorCode("token_expired") == .tokenExpired)
    #expect(HubErrorCode("token_unknown") == .tokenUnknown)
    #expect(HubErrorCode("stale_sequence") == .staleSequence)
  }

  @Test func aStaleSequenceTellsTheLast() throws {
    let error = HubError(.staleSequence, "stale", last: 41)
    let again: HubError = try JSONValue(encoding: error).decoded()
    #expect(again.error.last == 41)
  }

  @Test func aSyncThatChangesNothingIsUnderAKilobyte() throws {
    let request = SyncRequest(
      agentVersion: "0.1.0", name: "harbour-07",
      models: [
        ReportedModel(
          name: "smollm2-135m-instruct", version: "1", sha256: String(repeating: "a", count: 64), state: "active")
      ], repository: RepositoryVersions(root: 1, timestamp: 1, snapshot: 1, targets: 1),
      audit: AuditHead(size: 12345, root: Digest(of: [])), outbox: 0, sandbox: "active")
    #expect(try JSONValue(encoding: request).encoded().count < 1024)
    #expect(try JSONValue(encoding: request).decoded(as: SyncRequest.self) == request)
  }

  @Test func aHubOfBeforeThereWereDirectorsIsUnderstood() throws {
    let text = #"{"hubTime":1,"timestampVersion":2,"audit":{"cosignedSize":3},"wants":["something-new"]}"#
    let response: SyncResponse = try JSONValue(parsing: Array(text.utf8)).decoded()
    #expect(response.directorVersion == nil)
    #expect(response.wants == ["something-new"])
  }
}
