import Fleet
import Testing
import Trust
import Web

@testable import Hub

@Suite struct RetentionTests {
  private func put(_ hub: TestHub, _ device: ScriptedDevice, _ body: String) async throws -> ClientResponse {
    try await hub.admin("PUT", "/devices/\(device.id)/retention", body: Array(body.utf8))
  }

  @Test func anExceptionIsSignedForTheOneBoxAndTakenBack() async throws {
    try await TestHub.with { hub in
      try await hub.putDirector(1, try hub.directorRoot())
      try await hub.publish(2, [])
      let (device, other) = (
        try await ScriptedDevice.enrolled(hub), try await ScriptedDevice.enrolled(hub, name: "other")
      )
      func signed(_ device: ScriptedDevice) async throws -> RetentionException? {
        try await hub.director(device.id)?.targetsMetadata?.retention
      }
      #expect(try await signed(device) == nil)
      #expect(try await hub.admin("GET", "/devices/\(device.id)/retention").json["exception"] == .null)
      let answer = try await put(hub, device, #"{"days": 30, "reason": "works council", "expiresInSeconds": 7200}"#)
      #expect(answer.status == 201, "\(answer.text)")
      let found = try #require(try await signed(device))
      #expect(found.days == 30 && found.reason == "works council" && found.issuedBy == "operator:first")
      let id = try answer.json["exception"]?["id"]?.string
      #expect(found.expires - found.issued == 7200 && found.id == id)
      #expect(try await signed(other) == nil)
      // Another takes its place.
      _ = try await put(hub, device, #"{"days": 60, "reason": "another reason"}"#)
      #expect(try await signed(device)?.days == 60)
      for status in [204, 404] {
        #expect(try await hub.admin("DELETE", "/devices/\(device.id)/retention").status == status)
      }
      #expect(try await signed(device) == nil)
      for body in [
        #"{"days": 0, "reason": "works council"}"#, #"{"days": 180, "reason": "works council"}"#,
        #"{"days": 30, "reason": "short"}"#, #"{"days": 30, "reason": "two\nlines of it"}"#, #"{"days": 30}"#,
        #"{"days": 30, "reason": "works council", "expiresInSeconds": 5}"#,
        #"{"days": 30, "reason": "works council", "expiresInSeconds": 99999999}"#,
      ] {
        #expect(try await put(hub, device, body).status == 400, "\(body)")
      }
      #expect(try await hub.admin("PUT", "/devices/\(String(repeating: "0", count: 32))/retention").status == 404)
    }
  }
}
