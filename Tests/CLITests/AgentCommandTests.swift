import CommandLine
import Foundation
import Testing
import Trust
import Web

@testable import skerry

@Suite struct AgentCommandTests {
  private let models: JSONValue = [
    "models": [
      [
        "name": "m", "version": "1.0.0", "state": "active", "length": 1_048_576, "architecture": "llama",
        "signers": ["k"],
      ]
    ]
  ]

  @Test func listsModelsForPeopleAndPrograms() async throws {
    try await withAgent(["GET /skerry/v1/models": answer(models)]) { agent in
      let said = try await agent.run("model", "list")
      #expect(
        said.output == """
          NAME  VERSION  KIND   STATE      SIZE  ARCHITECTURE  SIGNERS
          m     1.0.0    model  active  1.0 MiB  llama         1

          """)
      let then = try await agent.run("model", "list", "--json")
      #expect(then.json == models)
    }
  }

  @Test func aNameCanNotLeaveItsPlaceInThePath() async throws {
    try await withAgent([:]) { agent in
      let said = try await agent.run("model", "show", "../roles?x=1")
      #expect(said.failure?.status == .noInput)
      #expect(said.failure?.hint == "look again")
      #expect(agent.asked.map(\.line) == ["GET /skerry/v1/models/..%2Froles%3Fx%3D1"])
    }
  }

  @Test func damagedWeightsEndWithBadData() async throws {
    let path = "POST /skerry/v1/models/m/verify"
    try await withAgent([path: answer(["ok": false, "state": "corrupt"])]) { agent in
      let said = try await agent.run("model", "verify", "m")
      #expect(said.failure?.status == .data)
      #expect(said.output == "")
    }
    try await withAgent([path: answer(["ok": true])]) { agent in
      let said = try await agent.run("model", "verify", "m")
      #expect(said.failure == nil && said.output.contains("match"))
    }
  }

  @Test func aDenialKeepsItsReasonAndItsRemedy() async throws {
    let denied = answer(
      ["error": ["code": "denied", "message": "no role allows it", "hint": "skerry role bind admin uid:1000"]],
      status: 403)
    try await withAgent(["GET /skerry/v1/status": denied]) { agent in
      let said = try await agent.run("status")
      #expect(
        said.failure
          == CommandFailure("no role allows it", hint: "skerry role bind admin uid:1000", status: .denied))
    }
  }

  @Test func aStatusThatCantBePutOnRecordTellsTheLogsTrouble() async throws {
    let refused = answer(
      ["error": ["code": "audit_unavailable", "message": "the audit log can't be written"]], status: 503)
    let health: JSONValue = ["ok": true, "audit": ["seconds": 12, "cause": "readOnly"]]
    try await withAgent(["GET /skerry/v1/status": refused, "GET /skerry/v1/health": answer(health)]) { agent in
      let said = try await agent.run("status")
      #expect(said.failure?.status == .tryLater)
      #expect(said.failure?.message.contains("NOT WRITTEN for 12s: the disk is read-only") == true)
      #expect(try await agent.run("status", "--json").json == health)
    }
  }

  @Test func aTokenIsAllThatStandardOutputGets() async throws {
    try await withAgent(["POST /skerry/v1/tokens": answer(["name": "app", "token": "skt_x"], status: 201)]) { agent in
      let said = try await agent.run("token", "create", "app", "--role", "chat", "-r", "auditor", "--expires", "1h")
      #expect(said.output == "skt_x\n")
      #expect(said.notes.count == 1)
      #expect(
        agent.asked.first?.body == ["name": "app", "roles": ["chat", "auditor"], "expiresInSeconds": 3600])
      let json = try await agent.run("token", "create", "app", "--json")
      #expect(json.json?["token"] == "skt_x" && json.notes.isEmpty)
    }
  }

  @Test func rolesAreBoundAndUnbound() async throws {
    let target = "DELETE /skerry/v1/bindings?role=chat&subject=token%3Aapp1"
    try await withAgent(["POST /skerry/v1/bindings": answer([:]), target: .empty(204)]) { agent in
      let said = try await agent.run("role", "bind", "chat", "token:app1")
      #expect(said.output == "token:app1 holds chat\n")
      let then = try await agent.run("role", "unbind", "chat", "token:app1")
      #expect(then.failure == nil)
      #expect(agent.asked.first?.body == ["role": "chat", "subject": "token:app1"])
      #expect(agent.asked.last?.line == target)
    }
  }

  @Test func theFleetsPolicyIsShownWithWhatDoesNotCountBesideIt() async throws {
    let target = "GET /skerry/v1/policy"
    let policy: JSONValue = [
      "name": "default", "serial": 7, "sha256": "00", "state": "stale", "problem": .null, "expires": 1_000_000,
      "staleRoles": ["chat"], "ceiling": ["infer", "model.list"], "adopted": 900_000, "replayed": 120, "changed": 3,
      "ignored": [
        ["path": "roles.mine.allow[0]", "problem": "the fleet's ceiling does not cover audit.read on audit:*"]
      ],
    ]
    let refused: JSONValue = ["name": "default", "serial": 8, "sha256": "00", "reason": "serial: wrong type"]
    try await withAgent([target: answer(["policy": policy, "refused": refused])]) { agent in
      let said = try await agent.run("role", "policy").output
      for words in [
        "default, serial 7", "EXPIRED", "chat alone", "of 120 recorded decisions 3 come out otherwise",
        "infer, model.list", "roles.mine.allow[0]: the fleet's ceiling", "default serial 8: serial: wrong type",
      ] {
        #expect(said.contains(words), "\(said)")
      }
    }
    try await withAgent([target: answer(["policy": .null, "refused": .null])]) { agent in
      let said = try await agent.run("role", "policy").output
      #expect(said.contains("the fleet has signed none"))
    }
  }

  @Test func anExplanationNamesTheRemedy() async throws {
    let target = "GET /skerry/v1/explain?subject=local&verb=infer&resource=model%3Am"
    let denied: JSONValue = [
      "allowed": false, "reason": "no role allows infer", "remedy": "skerry role bind chat local",
      "tree": [
        "text": "denied: infer on model:m by local",
        "children": [
          ["text": "because no role allows infer"],
          ["text": "what would change it", "children": [["text": "skerry role bind chat local"]]],
        ],
      ],
    ]
    try await withAgent([target: answer(denied)]) { agent in
      let said = try await agent.run("role", "explain", "local", "infer", "model:m")
      #expect(
        said.output == """
          denied: infer on model:m by local
          ├─ because no role allows infer
          └─ what would change it
             └─ skerry role bind chat local

          """)
    }
  }

  @Test func aSyncTellsItsOutcome() async throws {
    let events: [String?] = [
      #"{"event":"progress","phase":"download","model":"m:1","done":1,"total":2}"# + "\n" + #"{"event":"pro"#,
      #"gress","phase":"metadata","done":1,"total":0}"# + "\n",
      #"{"event":"done","outcome":{"changed":true,"activated":["m:1"],"fetchedBytes":5,"cosignedSize":9}}"#,
    ]
    try await withAgent(["POST /skerry/v1/sync": pieces(events)]) { agent in
      let said = try await agent.run("sync")
      #expect(said.output == "synced\n  active now  m:1\n  fetched     5 B\n  cosigned    the first 9 audit entries\n")
      let lines = try await agent.run("sync", "--json").output.split(separator: "\n")
      #expect(lines.count == 3)
      #expect(try JSONValue(parsing: Array(lines[2].utf8))["event"] == "done")
    }
  }

  @Test func aSyncThatFailsSaysWhy() async throws {
    let events = [#"{"event":"error","error":{"code":"hub_unavailable","message":"no route","hint":"wait"}}"# + "\n"]
    try await withAgent(["POST /skerry/v1/sync": pieces(events)]) { agent in
      let said = try await agent.run("sync")
      #expect(said.failure == CommandFailure("no route", hint: "wait", status: .hubUnavailable))
    }
  }

  @Test func aModelThatCameDuringAnEarlierSyncIsToldToo() async throws {
    let events = [
      #"{"event":"progress","phase":"activate","model":"m:1","done":1,"total":1}"# + "\n",
      #"{"event":"done","outcome":{"changed":false,"activated":[]}}"# + "\n",
    ]
    try await withAgent(["POST /skerry/v1/sync": pieces(events)]) { agent in
      let said = try await agent.run("sync")
      #expect(said.output == "synced\n  active now  m:1\n")
    }
  }

  @Test func aModelThatDidNotArriveIsNoSuccess() async throws {
    let event = #"{"event":"done","outcome":{"changed":false,"failures":[{"model":"m:1","message":"disk full"}]}}"#
    try await withAgent(["POST /skerry/v1/sync": pieces([event])]) { agent in
      let said = try await agent.run("sync")
      #expect(said.output == "synced; nothing is new\n")
      #expect(said.failure?.message == "m:1: disk full" && said.failure?.status == .tryLater)
    }
  }

  @Test func aSyncThatBreaksOffIsNoSuccess() async throws {
    for events in [[#"{"event":"progress","done":1,"total":2}"# + "\n"], [#"{"event":"progress"}"# + "\n", nil], []] {
      try await withAgent(["POST /skerry/v1/sync": pieces(events)]) { agent in
        let said = try await agent.run("sync")
        #expect(said.failure?.status == .tryLater)
      }
    }
  }

  @Test func garbageInsteadOfJSONIsBadData() async throws {
    try await withAgent(["GET /skerry/v1/models": .text(200, "<html>")]) { agent in
      let said = try await agent.run("model", "list")
      #expect(said.failure?.status == .data)
    }
  }

  @Test func theNewestEntriesAreListed() async throws {
    let key = SigningKey.generate()
    let checkpoint = Checkpoint(origin: "box", size: 50, root: Digest(of: []))
    let note = try SignedNote.sign(text: checkpoint.noteText, name: "box", key: key)
    let record: JSONValue = ["v": 1, "n": 49, "t": 1_000_000, "kind": "sync", "actor": "agent", "ok": true]
    try await withAgent([
      "GET /skerry/v1/audit/head": .text(200, note.encoded),
      "GET /skerry/v1/audit?from=49&limit=1": answer(["entries": [record]]),
    ]) { agent in
      let said = try await agent.run("audit", "list", "--limit", "1")
      #expect(
        said.output == """
           N  TIME                  KIND  ACTOR  WHAT
          49  1970-01-01T00:16:40Z  sync  agent  ok=true

          """)
      let then = try await agent.run("audit", "head", "--json")
      #expect(then.json?["size"] == 50)
      let afterwards = try await agent.run("audit", "head")
      #expect(afterwards.output == note.encoded)
    }
  }

  @Test func anExportAppearsWholeOrNotAtAll() async throws {
    let target = "GET /skerry/v1/audit/export"
    try await withAgent([target: pieces(["one\n", "two\n"])]) { agent in
      let file = agent.file("log.jsonl")
      let said = try await agent.run("audit", "export", "--output", file)
      #expect(said.failure == nil)
      #expect(try String(contentsOfFile: file, encoding: .utf8) == "one\ntwo\n")
      let then = try await agent.run("audit", "export")
      #expect(then.output == "one\ntwo\n")
    }
    try await withAgent([target: pieces(["one\n", nil])]) { agent in
      let file = agent.file("log.jsonl")
      let afterwards = try await agent.run("audit", "export", "-o", file)
      #expect(afterwards.failure?.status == .tryLater)
      #expect(!FileManager.default.fileExists(atPath: file))
      let last = try await agent.run("audit", "export", "-o", "/nowhere/x")
      #expect(last.failure?.status == .noInput)
    }
  }

  @Test func aReportIsWrittenAsAPageAndAsJSON() async throws {
    let report: JSONValue = ["findings": [["severity": "high", "message": "weights are corrupt"]], "models": []]
    try await withAgent([
      "GET /skerry/v1/report": answer(report), "GET /skerry/v1/report.html": .text(200, "<!doctype html>"),
    ]) { agent in
      let (page, data) = (agent.file("r.html"), agent.file("r.json"))
      let said = try await agent.run("report", "--html", page, "-o", data)
      #expect(said.output.contains("r.html: 15 B"))
      #expect(try String(contentsOfFile: page, encoding: .utf8) == "<!doctype html>")
      #expect(try JSONValue(parsing: Array(try Data(contentsOf: URL(filePath: data)))) == report)
      let then = try await agent.run("report", "--json")
      #expect(then.json == report)
      let afterwards = try await agent.run("report")
      #expect(afterwards.output.contains("  high: weights are corrupt\n"))
    }
  }

  @Test func aSocketWithNobodyBehindItSaysSo() async throws {
    let agent = try FakeAgent([:])
    await agent.stop()
    let said = try await agent.run("status")
    #expect(said.failure?.status == .hubUnavailable)
  }
}
