import CommandLine
import Testing
import Trust

import enum CommandLine.ExitStatus

@testable import skerry

@Suite struct FormatTests {
  @Test func factsAlignAndSkipWhatIsUnknown() {
    #expect(facts([("a", "1"), ("long", "two\nlines"), ("none", nil)]) == "a     1\nlong  two\n      lines\n")
    #expect(facts([("evil", "\u{1B}[2J")]) == "evil  \\u{1B}[2J\n")
  }

  @Test func aStatusTellsTheWholeBox() throws {
    let status = try JSONValue(
      parsing: Array(
        """
        {"version":"0.1.0","deviceID":"abcd","name":"box","enrolled":true,"hub":"https://hub.example",
         "sandbox":{"mode":"preferred","state":"unavailable","reason":"no user namespaces"},"uptimeSeconds":3661,
         "models":[{"name":"m","version":"1","state":"active"},{"name":"n","version":"2","state":"corrupt"}],
         "engines":[{"model":"m","pid":7,"state":"ready","loadedSeconds":61}],
         "audit":{"size":12,"root":"00","cosignedSize":10},
         "sync":{"state":"waiting","reachable":false,"lastSuccess":1000,"lastError":"no route","nextAttempt":1300},
         "outbox":2,"keys":{"device":"d","witness":null}}
        """.utf8))
    #expect(
      statusText(status, now: 1100) == """
        box      box (device abcd)
        agent    0.1.0, up 1h 1m
        hub      https://hub.example, out of reach
        sync     waiting, last 1970-01-01T00:16:40Z (1m 40s ago), next 1970-01-01T00:21:40Z (in 3m 20s)
                 last error: no route
        models   m 1: active
                 n 2: corrupt
        engines  m: ready, process 7, for 1m 1s
        sandbox  preferred: unavailable (no user namespaces)
        audit    12 entries, the first 10 cosigned
        outbox   2 waiting for the hub

        """)
  }

  @Test func anAuditLogThatCantBeWrittenSaysWhyAndWhatToDo() {
    let status: JSONValue = ["audit": ["size": 3, "trouble": ["seconds": 65, "cause": "full"]]]
    let text = statusText(status, now: 0)
    #expect(text.contains("NOT WRITTEN for 1m 5s: the disk is full. Until it is, every request is refused\n"))
    #expect(text.contains("make room on the disk"))
    for cause in ["readOnly", "stalled", "moved", "replaced", "removed", "denied", "inputOutput", "of a newer agent"] {
      let text = auditTroubleText(["seconds": 1, "cause": .string(cause)])
      #expect(text?.contains("tampering") == false, "\(cause)")
    }
    #expect(
      auditTroubleText(["seconds": 1, "cause": "damaged"])?.contains("restart the agent to begin a new log") == true)
    #expect(auditTroubleText(.null) == nil)
  }

  /// A newer agent may leave out or add what it likes; the command line goes on.
  @Test func anAnswerWithNothingInItIsStillShown() {
    #expect(statusText(.object([:]), now: 0).contains("not enrolled"))
    #expect(deviceTable(.object([:]), now: 0).contains("no devices yet"))
    #expect(modelText(.null).contains("name"))
    #expect(reportText(.null) == "findings  none\n")
  }

  @Test func aRecordsOwnMembersAreItsDetails() {
    let record: JSONValue = [
      "v": 1, "n": 0, "t": 5, "kind": "sync", "actor": "agent", "ok": true, "models": ["a", "b"],
    ]
    #expect(recordDetails(record) == "models=a, b ok=true")
  }

  @Test func pathsAndQueriesAreEncoded() {
    #expect(path("/x", "a b/ü?", "c") == "/x/a%20b%2F%C3%BC%3F/c")
    #expect(percentEncoded("token:app1+~") == "token%3Aapp1%2B~")
  }

  @Test(arguments: [
    (401, ExitStatus.denied), (403, .denied), (404, .noInput), (400, .data), (413, .data), (503, .tryLater),
    (429, .tryLater), (500, .software), (507, .io), (418, .failure),
  ])
  func statusCodesHaveTheirExitStatus(_ code: Int, _ status: ExitStatus) {
    #expect(API.exitStatus(for: code) == status)
  }

  @Test func errorsOfEveryShapeKeepTheirWords() {
    func failure(_ body: String) -> CommandFailure { API.failure(status: 403, body: Array(body.utf8)) }
    #expect(
      failure(#"{"error":{"code":"x","message":"no","hint":"ask"}}"#) == .init("no", hint: "ask", status: .denied))
    #expect(failure(#"{"error":"plain"}"#) == .init("plain", status: .denied))
    #expect(failure("<html>") == .init("the answer was HTTP status 403", status: .denied))
    #expect(failure("") == .init("the answer was HTTP status 403", status: .denied))
  }
}
