import Fleet
import Hub
import Testing
import Trust
import Web

@Suite struct DeviceAPITests {
  @Test func aReplayedRequestIsRefused() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let body = try JSONValue(encoding: device.syncRequest()).encoded()
      let headers = device.signed("/v1/sync", body, sequence: 7)
      #expect(try await hub.send("POST", "/v1/sync", headers: headers, body: body).status == 200)
      let again = try await hub.send("POST", "/v1/sync", headers: headers, body: body)
      #expect(again.status == 409)
      #expect(again.code == "stale_sequence")
      #expect(try again.json["error"]?["last"]?.integer == 7)
      #expect(try await device.post("/v1/sync", body, sequence: 6).code == "stale_sequence")
      #expect(try await device.post("/v1/sync", body, sequence: 8).status == 200)
    }
  }

  @Test func aSignatureHoldsForItsRequestOnly() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let body = try JSONValue(encoding: device.syncRequest()).encoded()
      let headers = device.signed("/v1/sync", body, sequence: 50)
      let changed = try JSONValue(encoding: device.syncRequest(name: "other")).encoded()
      #expect(try await hub.send("POST", "/v1/sync", headers: headers, body: changed).code == "bad_signature")
      #expect(try await hub.send("POST", "/v1/outbox", headers: headers, body: body).code == "bad_signature")
      var raised = headers
      raised.set("Skerry-Sequence", "51")
      #expect(try await hub.send("POST", "/v1/sync", headers: raised, body: body).code == "bad_signature")
      for name in ["Signature", "Signature-Input", "Content-Digest", "Skerry-Sequence"] {
        var cut = headers
        cut[name] = nil
        let answer = try await hub.send("POST", "/v1/sync", headers: cut, body: body)
        #expect(answer.status == 401 || answer.status == 400, "without \(name): \(answer.status)")
      }
      // None of it took a number.
      #expect(try await hub.send("POST", "/v1/sync", headers: headers, body: body).status == 200)
    }
  }

  @Test func nobodySignsForAnother() async throws {
    try await TestHub.with { hub in
      let victim = try await ScriptedDevice.enrolled(hub, name: "victim")
      let attacker = try await ScriptedDevice.enrolled(hub, name: "attacker")
      let body = try JSONValue(encoding: attacker.syncRequest(name: "taken over")).encoded()
      let headers = attacker.signed("/v1/sync", body, sequence: 99, as: victim.id)
      #expect(try await hub.send("POST", "/v1/sync", headers: headers, body: body).code == "bad_signature")
      let shown = try await hub.admin("GET", "/devices/\(victim.id)").json
      #expect(shown["name"]?.string == "victim")
      #expect(try await victim.post("/v1/sync", victim.syncRequest(name: "victim")).status == 200)
    }
  }

  @Test func twoBoxesCountForThemselves() async throws {
    try await TestHub.with { hub in
      let one = try await ScriptedDevice.enrolled(hub, name: "one")
      let two = try await ScriptedDevice.enrolled(hub, name: "two")
      let item = OutboxItem(id: OutboxItem.newID(), kind: "event", priority: 0, created: 1, body: ["from": "one"])
      #expect(try await one.post("/v1/outbox", OutboxBatch(items: [item]), sequence: 100).status == 200)
      // The same id from another box is another item.
      #expect(try await two.post("/v1/outbox", OutboxBatch(items: [item])).status == 200)
      let list = try await hub.admin("GET", "/devices").json["devices"]?.array ?? []
      #expect(list.map { $0["name"]?.string } == ["one", "two"])
    }
  }

  @Test func arepeatedOutboxItemIsAcceptedAndKeptOnce() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let items = (0..<3).map {
        OutboxItem(id: OutboxItem.newID(), kind: "event", priority: 1, created: 5, body: ["n": .integer(Int64($0))])
      }
      let first: OutboxReply = try await device.post("/v1/outbox", OutboxBatch(items: items)).json.decoded()
      #expect(first.accepted == items.map(\.id))
      // The answer got lost; the box sends all of it again, with one more.
      let more = items + [OutboxItem(id: OutboxItem.newID(), kind: "event", priority: 1, created: 6, body: ["n": 3])]
      let second: OutboxReply = try await device.post("/v1/outbox", OutboxBatch(items: more)).json.decoded()
      #expect(second.accepted == more.map(\.id))
      let events = try await hub.admin("GET", "/devices/\(device.id)").json["events"]?.array ?? []
      #expect(events.compactMap { $0["body"]?["n"]?.integer } == [3, 2, 1, 0])
    }
  }

  @Test func anOversizedItemDoesNotBlockTheRest() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let large = OutboxItem(
        id: OutboxItem.newID(), kind: "event", priority: 0, created: 1,
        body: .string(String(repeating: "x", count: 200_000)))
      let small = OutboxItem(id: OutboxItem.newID(), kind: "event", priority: 1, created: 2, body: "small")
      let reply: OutboxReply = try await device.post("/v1/outbox", OutboxBatch(items: [large, small])).json.decoded()
      #expect(reply.accepted == [large.id, small.id])
      let events = try await hub.admin("GET", "/devices/\(device.id)").json["events"]?.array ?? []
      #expect(events.count == 2)
      #expect(events.last?["body"]?["dropped"]?.string == "too large")
    }
  }

  @Test func reportsAreOpenedAndTheirSignatureIsTold() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      func send(_ key: SigningKey, _ text: String) async throws {
        let finding: JSONValue = [
          "id": "x", "severity": "critical", "subject": "box:x", "message": .string(text), "remedy": "Mend it.",
        ]
        let payload = JSONValue.object(["findings": [finding, 7]]).encoded()
        let envelope = DSSEEnvelope.sign(payload: payload, type: ComplianceReport.payloadType, key: key, keyID: "k")
        let item = OutboxItem(
          id: OutboxItem.newID(), kind: OutboxItem.report, priority: 0, created: 1,
          body: try JSONValue(encoding: envelope))
        #expect(try await device.post("/v1/outbox", OutboxBatch(items: [item])).status == 200)
      }
      #expect(try await device.post("/v1/sync", device.syncRequest()).json["wants"] == ["report"])
      try await send(device.key, "a disk is failing")
      #expect(try await device.post("/v1/sync", device.syncRequest()).json["wants"] == [])
      var shown = try await hub.admin("GET", "/devices/\(device.id)").json
      #expect(shown["report"]?["signed"]?.bool == true)
      #expect(shown["findings"]?.array?.first?["text"]?.string == "a disk is failing Mend it.")
      try await send(SigningKey.generate(), "forged")
      shown = try await hub.admin("GET", "/devices/\(device.id)").json
      #expect(shown["report"]?["signed"]?.bool == false)
      #expect(shown["findings"]?.array?.first?["text"]?.string == "its report is not signed with its key")
    }
  }

  @Test func garbageIsRefusedWithWhatIsWrong() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let bodies: [(String, [UInt8])] = [
        ("/v1/sync", []), ("/v1/sync", [0xFF, 0xFE, 0x00]), ("/v1/sync", Array("[]".utf8)),
        ("/v1/sync", Array("{}".utf8)), ("/v1/sync", Array(repeating: 0x5B, count: 100_000)),
        ("/v1/outbox", Array(#"{"items":[{"id":"../../x"}]}"#.utf8)), ("/v1/outbox", Array(#"{"items":7}"#.utf8)),
        ("/v1/audit/add-checkpoint", Array("hello".utf8)),
        ("/v1/audit/add-checkpoint", Array("old 0\n\nnot a note\n".utf8)),
        ("/v1/audit/add-checkpoint", Array("old 0\n".utf8)), ("/v1/audit/add-checkpoint", Array("old 0\n\n".utf8)),
        ("/v1/audit/add-checkpoint", Array("old -1\n\n".utf8)), ("/v1/audit/add-checkpoint", [0x0A, 0x0A]),
      ]
      for (path, body) in bodies {
        let answer = try await device.post(path, body)
        #expect(answer.status == 400, "\(path) \(String(decoding: body.prefix(30), as: UTF8.self)): \(answer.text)")
        #expect(answer.code == "malformed")
      }
      let nothing: [UInt8] = Array("{}".utf8)
      let lacking = try await device.post("/v1/sync", nothing)
      #expect(lacking.text.contains("is missing"), "\(lacking.text)")
      let many = OutboxBatch(
        items: (0..<101).map { _ in OutboxItem(id: OutboxItem.newID(), kind: "event", priority: 0, created: 0, body: 1)
        })
      #expect(try await device.post("/v1/outbox", many).status == 400)
      let huge = [UInt8](repeating: 0x20, count: 300_000)
      #expect(try await device.post("/v1/sync", huge).status == 413)
      #expect(try await device.post("/v1/sync", device.syncRequest()).status == 200)
    }
  }

  @Test func aSequenceNumberBeyondTheStoresRangeIsRefused() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      #expect(try await device.post("/v1/sync", device.syncRequest(), sequence: .max).code == "malformed")
      #expect(try await device.post("/v1/sync", device.syncRequest(), sequence: UInt64(Int64.max)).status == 200)
      #expect(try await device.post("/v1/sync", device.syncRequest(), sequence: 5).code == "stale_sequence")
    }
  }

  @Test func unknownPathsAndMethodsAreSaidSo() async throws {
    try await TestHub.with { hub in
      #expect(try await hub.send("GET", "/v1/health").json == ["ok": true])
      #expect(try await hub.send("GET", "/v1/nothing").status == 404)
      let wrong = try await hub.send("GET", "/v1/sync")
      #expect(wrong.status == 405)
      #expect(wrong.headers["allow"] == "POST")
    }
  }
}
