import Fleet
import FoundationEssentials
import Hub
import Storage
import Testing
import Trust
import Web

@Suite struct AdminTests {
  @Test func theAdminAPINeedsItsToken() async throws {
    try await TestHub.with { hub in
      let routes: [(String, String)] = [
        ("GET", "/status"), ("GET", "/devices"), ("GET", "/devices/x"), ("POST", "/devices/x/assign"),
        ("DELETE", "/devices/x"), ("POST", "/enrollment-tokens"), ("GET", "/online-key"), ("POST", "/repo/missing"),
        ("PUT", "/repo/chunks/x"), ("PUT", "/repo/indexes/x"), ("PUT", "/repo/metadata/1.root.json"),
        ("POST", "/repo/commit"), ("DELETE", "/repo/staged"),
      ]
      for (method, path) in routes {
        let answer = try await hub.send(method, "/admin/v1\(path)", body: method == "GET" ? nil : [])
        #expect(answer.status == 401, "\(method) \(path)")
        #expect(answer.code == "unauthorized")
      }
      for header in [
        "Bearer ska_wrong", "Bearer ", "Basic \(Base64.encode(Array("a:\(hub.created.adminToken)".utf8)))",
      ] {
        #expect(try await hub.send("GET", "/admin/v1/status", headers: ["Authorization": header]).status == 401)
      }
      #expect(try await hub.admin("GET", "/status").status == 200)
    }
  }

  @Test func theStatusTellsWhatAPublisherNeeds() async throws {
    try await TestHub.with { hub in
      let status = try await hub.admin("GET", "/status").json
      #expect(status["pin"]?.string == hub.created.pin)
      let key = try await hub.admin("GET", "/online-key").json
      #expect(key["keyval"]?["public"]?.string == hub.created.onlineKey)
      #expect(key["keyid"]?.string?.count == 64)
      #expect(try await hub.admin("GET", "/devices/0123").status == 404)
    }
  }

  @Test func guessingIsSlowedDown() async throws {
    try await TestHub.with { hub in
      var last = 0
      for _ in 0..<40 {
        last = try await hub.send("GET", "/admin/v1/status", headers: ["Authorization": "Bearer ska_x"]).status
      }
      #expect(last == 503)
      // Who has the token is not kept out by who has not.
      #expect(try await hub.admin("GET", "/status").status == 200)
    }
  }

  @Test func aHubIsMadeOnceWithItsSecretsClosed() async throws {
    let directory = FileManager.default.temporaryDirectory.path + "/skerry-init-\(Hex.encode(SecureRandom.bytes(8)))"
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let configuration = try HubConfiguration(url: "https://hub.example:8443")
    let made = try await HubState.create(directory: directory, configuration: configuration, now: 1)
    await #expect(throws: HubSetupError.alreadyAHub(directory)) {
      try await HubState.create(directory: directory, configuration: configuration, now: 2)
    }
    for name in ["keys/tls.key", "keys/online.key", "keys/witness.key", "admin.token", "hub.sqlite"] {
      let attributes = try FileManager.default.attributesOfItem(atPath: "\(directory)/\(name)")
      #expect((attributes[.posixPermissions] as? Int ?? 0) & 0o077 == 0, "\(name)")
    }
    let state = try HubState(directory: directory)
    #expect(state.pin == made.pin)
    #expect(state.configuration == configuration)
    state.store.close()
    // No secret lies in the database in the clear.
    let database = try #require(try DurableFile.read("\(directory)/hub.sqlite"))
    #expect(!String(decoding: database, as: UTF8.self).contains(made.adminToken))
  }

  @Test func theConfigurationSaysWhatIsWrongWithIt() throws {
    func refusal(_ text: String) -> String {
      do {
        _ = try HubConfiguration(parsing: Array(text.utf8), path: "hub.json5")
        return ""
      } catch { return error.description }
    }
    #expect(refusal("{url: 'https://a:1', colour: 1}").contains("\"colour\" is unknown"))
    #expect(refusal("{listen: 'a:1'}").contains("\"url\" is missing"))
    #expect(refusal("{url: 'https://a:1', listen: 5}").contains("\"listen\" is no string"))
    #expect(refusal("{url: 'http://a:1'}").contains("no address of a hub"))
    #expect(refusal("{url: 'https://a:99999'}").contains("no address of a hub"))
    #expect(refusal("{url: 'https://a:1', listen: 'a'}").contains("no address to listen on"))
    #expect(refusal("{").contains("hub.json5"))
    #expect(refusal("{url: 'https://[::1]:8443'}").isEmpty)
    #expect(try HubConfiguration(url: "https://hub.example:8443").listen == "0.0.0.0:8443")
    #expect(try HubConfiguration(url: "https://[::1]:8443/", listen: "[::1]:9").listen == "[::1]:9")
  }
}

@Suite struct DashboardTests {
  @Test func showsTheBoxesToWhoHasTheToken() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub, name: "harbour-07")
      let model = ReportedModel(name: "smollm2", version: "1", sha256: "00", state: "corrupt")
      _ = try await device.post("/v1/sync", device.syncRequest(models: [model], size: 3))
      let closed = try await hub.send("GET", "/")
      #expect(closed.status == 401)
      #expect(closed.headers["www-authenticate"]?.hasPrefix("Basic") == true)
      #expect(!closed.text.contains("harbour-07"))
      let page = try await hub.dashboard("/")
      #expect(page.status == 200)
      #expect(page.headers["content-type"] == "text/html; charset=utf-8")
      #expect(page.text.contains("harbour-07"))
      #expect(page.text.contains("critical: the stored weights of smollm2 1 don&#39;t match their digest"))
      let one = try await hub.dashboard("/devices/\(device.id)")
      #expect(one.status == 200)
      #expect(one.text.contains(device.key.verifyingKey.hex))
      #expect(try await hub.dashboard("/devices/nobody").status == 404)
    }
  }

  @Test func aBoxsReportReadsAsOnTheBox() async throws {
    try await TestHub.with { hub in
      let device = try await ScriptedDevice.enrolled(hub)
      let report = ComplianceReport(
        generatedAt: 1_795_651_200,
        device: ComplianceReport.Device(
          id: device.id.hex, name: "<i>07", version: "0.1.0", key: "k", isEnrolled: true, hub: hub.base,
          uptimeSeconds: 1, diskFree: 1),
        models: [], roles: [], tokens: [],
        audit: ComplianceReport.Audit(
          size: 1, root: Digest(of: []), head: "", cosignedSize: 0, cosignedAt: nil, witness: nil,
          hashesRebuiltFrom: nil),
        repository: ComplianceReport.Repository(versions: [:], expires: [:]),
        sync: ComplianceReport.Sync(lastSuccess: nil, lastError: nil, outbox: 0),
        sandbox: ComplianceReport.Sandbox(mode: "required", isActive: true, reason: nil))
      let item = OutboxItem(
        id: OutboxItem.newID(), kind: OutboxItem.report, priority: 0, created: 1,
        body: try JSONValue(encoding: report.signed(by: device.key, keyID: "k")))
      #expect(try await hub.dashboard("/devices/\(device.id)/report").status == 404)
      #expect(try await device.post("/v1/outbox", OutboxBatch(items: [item])).status == 200)
      _ = try await device.post("/v1/sync", device.syncRequest())
      let page = try await hub.dashboard("/devices/\(device.id)/report")
      #expect(page.status == 200)
      #expect(page.text.contains("Compliance report of &lt;i&gt;07"))
      #expect(page.text == report.html())
      #expect(try await hub.send("GET", "/devices/\(device.id)/report").status == 401)
      // The disk is the box's to tell of; that it synced, the hub knows better.
      let findings = try await hub.admin("GET", "/devices/\(device.id)").json["findings"]?.array ?? []
      let texts = findings.compactMap { $0["text"]?.string }
      #expect(texts.contains { $0.contains("disk") || $0.contains("room") || $0.contains("space") })
      #expect(!texts.contains { $0.contains("never synced") })
    }
  }

  @Test func aBoxsWordsStayWords() async throws {
    try await TestHub.with { hub in
      let evil = "<script>alert(1)</script>"
      let device = try await ScriptedDevice.enrolled(hub, name: evil)
      let model = ReportedModel(name: "\"><img src=x onerror=y>", version: "'", sha256: "</pre>", state: evil)
      let item = OutboxItem(id: OutboxItem.newID(), kind: "<b>", priority: 0, created: 1, body: .string(evil))
      let report = OutboxItem(
        id: OutboxItem.newID(), kind: OutboxItem.report, priority: 0, created: 1,
        body: [
          "findings": [
            ["id": "x", "severity": "warning", "subject": "y", "message": .string(evil), "remedy": .string(evil)]
          ]
        ])
      _ = try await device.post("/v1/sync", device.syncRequest(name: evil, models: [model]))
      _ = try await device.post("/v1/outbox", OutboxBatch(items: [item, report]))
      for path in ["/", "/devices/\(device.id)"] {
        let page = try await hub.dashboard(path)
        #expect(page.status == 200)
        #expect(page.text.contains("&lt;script&gt;alert(1)"))
        for tag in ["<script", "<img", "<b>", "</pre>\""] { #expect(!page.text.contains(tag), "\(path) \(tag)") }
        let policy = try #require(page.headers["content-security-policy"])
        #expect(policy.hasPrefix("default-src 'none'; style-src 'sha256-"))
      }
    }
  }
}
