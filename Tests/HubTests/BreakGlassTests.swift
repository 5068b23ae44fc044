import Fleet
import FoundationEssentials
import Storage
import Testing
import Trust
import Web

@testable import Hub

@Suite struct BreakGlassTests {
  private func issue(_ hub: TestHub, _ device: ScriptedDevice, _ body: String = "{}") async throws -> ClientResponse {
    try await hub.admin("POST", "/devices/\(device.id)/break-glass", body: Array(body.utf8))
  }

  private func statement(_ hub: TestHub, _ device: ScriptedDevice) async throws -> [BreakGlassGrant] {
    try await hub.director(device.id)?.targetsMetadata?.breakGlass ?? []
  }

  private func states(_ hub: TestHub, _ device: ScriptedDevice) async throws -> [String] {
    let listed = try await hub.admin("GET", "/devices/\(device.id)/break-glass").json
    return (listed["grants"]?.array ?? []).compactMap { $0["state"]?.string }.sorted()
  }

  @Test func aCodeIsShownOnceAndItsDigestIsSignedForTheOneBox() async throws {
    try await TestHub.with { hub in
      try await hub.putDirector(1, try hub.directorRoot())
      try await hub.publish(2, [])
      let (device, other) = (
        try await ScriptedDevice.enrolled(hub), try await ScriptedDevice.enrolled(hub, name: "other")
      )
      let before = try #require(try await hub.director(device.id)?.targetsVersion)
      let answer = try await issue(hub, device, #"{"persons": 2, "seconds": 600, "role": "operator", "count": 2}"#)
      #expect(answer.status == 201, "\(answer.text)")
      let made = try #require(try answer.json["grants"]?.array)
      let codes = made.compactMap { $0["codes"]?.array?.compactMap(\.string) }
      #expect(codes.map(\.count) == [2, 2])

      let signed = try await statement(hub, device)
      #expect(Set(signed.map(\.id)) == Set(made.compactMap { $0["id"]?.string }))
      for (grant, texts) in zip(made, codes) {
        let found = try #require(signed.first { $0.id == grant["id"]?.string })
        #expect(found.codes == texts.compactMap { BreakGlassCode(parsing: $0)?.digest })
        #expect(found.role == "operator" && found.seconds == 600 && found.issuedBy == "operator:first")
      }
      #expect(try await statement(hub, other).isEmpty)
      #expect(try await hub.director(device.id)?.targetsVersion == before + 1)
      // No file of the hub has a code.
      for name in ["hub.sqlite", "hub.sqlite-wal"] {
        guard let bytes = try DurableFile.read("\(hub.directory)/\(name)") else { continue }
        let text = String(decoding: bytes, as: UTF8.self)
        for code in codes.joined() { #expect(!text.contains(code) && !text.contains(code.replacing("-", with: ""))) }
      }
    }
  }

  @Test func aUsedOneIsToldOfAndLeavesTheStatement() async throws {
    try await TestHub.with { hub in
      try await hub.putDirector(1, try hub.directorRoot())
      try await hub.publish(2, [])
      let device = try await ScriptedDevice.enrolled(hub)
      _ = try await issue(hub, device, #"{"count": 2}"#)
      let grant = try #require(try await statement(hub, device).first)
      let stranger = try await ScriptedDevice.enrolled(hub, name: "stranger")
      let body = BreakGlassEvent.opened(grant, persons: ["uid:1(ann)"], reason: "locked out", at: 5)
      func tell(_ from: ScriptedDevice, _ body: JSONValue) async throws {
        let item = OutboxItem(id: OutboxItem.newID(), kind: OutboxItem.event, priority: 0, created: 5, body: body)
        #expect(try await from.post("/v1/outbox", OutboxBatch(items: [item])).status == 200)
      }
      // Another box tells nothing of this one's.
      try await tell(stranger, body)
      #expect(try await states(hub, device) == ["ready", "ready"])
      try await tell(device, body)
      #expect(try await states(hub, device) == ["ready", "used"])
      #expect(try await statement(hub, device).map(\.id).contains(grant.id) == false)
      // The first word about it stays.
      try await tell(device, BreakGlassEvent.opened(grant, persons: ["uid:2(eve)"], reason: "something else", at: 6))
      try await tell(device, BreakGlassEvent.closed(grant.id, why: "its time is over", at: 7))
      let listed = try await hub.admin("GET", "/devices/\(device.id)/break-glass").json["grants"]?.array
      let used = try #require(listed?.first { $0["id"]?.string == grant.id })
      #expect(used["state"] == "closed" && used["used"]?["persons"] == ["uid:1(ann)"])
      #expect(used["used"]?["reason"] == "locked out")
      // What was used can't be revoked; the other can, once.
      let rest = try #require(try await statement(hub, device).first)
      for (id, status) in [(grant.id, 404), (rest.id, 204), (rest.id, 404), ("0000000000000000", 404)] {
        #expect(try await hub.admin("DELETE", "/devices/\(device.id)/break-glass/\(id)").status == status)
      }
      #expect(try await statement(hub, device).isEmpty)
    }
  }

  @Test func whatIsNoGrantIsRefusedAndNothingIsIssued() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      for body in [
        #"{"persons": 0}"#, #"{"persons": 3}"#, #"{"seconds": 59}"#, #"{"seconds": 86401}"#, #"{"count": 0}"#,
        #"{"count": 17}"#, #"{"role": ""}"#, #"{"role": "a b"}"#, #"{"expiresInSeconds": 1}"#, "[]", "x",
      ] {
        #expect(try await issue(hub, device, body).status == 400, "\(body)")
      }
      #expect(try await states(hub, device).isEmpty)
      #expect(try await issue(hub, device, #"{"count": 16}"#).status == 201)
      #expect(try await issue(hub, device).code == "conflict")
      #expect(try await states(hub, device).count == 16)
      for (method, path) in [("GET", ""), ("POST", ""), ("DELETE", "/x")] {
        let answer = try await hub.send(
          method, "/admin/v1/devices/\(device.id)/break-glass\(path)", body: method == "GET" ? nil : [])
        #expect(answer.status == 401)
      }
    }
  }

  @Test func operatorsHaveTokensAndNamesOfTheirOwn() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let made = try await hub.admin("POST", "/operators", body: Array(#"{"name": "eve", "role": "admin"}"#.utf8))
      let token = try #require(try made.json["token"]?.string)
      #expect(
        try await hub.admin("POST", "/operators", body: Array(#"{"name": "eve", "role": "admin"}"#.utf8)).code
          == "conflict")
      for name in ["", "A", "a b", "-a", String(repeating: "a", count: 65)] {
        let body = JSONValue.object(["name": .string(name)]).encoded()
        #expect(try await hub.admin("POST", "/operators", body: body).status == 400, "\(name)")
      }
      let headers: HTTPHeaders = ["Authorization": "Bearer \(token)"]
      let issued = try await hub.send(
        "POST", "/admin/v1/devices/\(device.id)/break-glass", headers: headers, body: [])
      #expect(issued.status == 201)
      let listed = try await hub.admin("GET", "/devices/\(device.id)/break-glass").json["grants"]?.array
      #expect(listed?.first?["issuedBy"] == "operator:eve")
      // The last one stays.
      #expect(try await hub.send("DELETE", "/admin/v1/operators/first", headers: headers).status == 204)
      #expect(try await hub.admin("GET", "/operators").status == 401)
      #expect(try await hub.send("DELETE", "/admin/v1/operators/eve", headers: headers).code == "conflict")
      #expect(try await hub.send("DELETE", "/admin/v1/operators/nobody", headers: headers).status == 404)
    }
  }
}
