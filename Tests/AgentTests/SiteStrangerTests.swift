import Fleet
import Models
import Storage
import Synchronization
import Testing
import Trust
import Web

@testable import Agent

/// Who is no neighbour, or pretends to be another, gets nothing from a box's listener.
@Suite(.serialized) struct SiteStrangerTests {
  private let publisher = Publisher()
  private let client = HTTPClient()

  /// A site of two boxes where the first holds a model; the second's key is the tests' to sign with.
  private struct Scene {
    let fixture: SiteFixture
    let manifest: ModelManifest
    let indexDigest: Digest
    let chunk: Chunk
    var box: SiteBox { fixture.boxes[0] }
    var own: DeviceID { DeviceID(key: fixture.keys[0].verifyingKey) }
    var neighbour: SigningKey { fixture.keys[1] }
    var path: String { SiteMessages.path(own, "\(indexDigest.hex)/chunks/\(chunk.id.hex)") }
  }

  private func scene() async throws -> Scene {
    let manifest = try publisher.publish(ggufFile(seed: 3, weights: 300_000), name: "tiny")
    let fixture = try await SiteFixture(2, standIns: [1: standIn(.none) { _ in .empty(404) }])
    _ = try await fixture.boxes[0].sync(CountingHub(publisher), try await publisher.trusted())
    let indexDigest = try #require(manifest.index).sha256
    let index = try #require(
      try ContentStore(root: fixture.boxes[0].files.scratch.path + "/registry").index(indexDigest))
    return Scene(
      fixture: fixture, manifest: manifest, indexDigest: indexDigest, chunk: try #require(index.chunks.first))
  }

  /// One request to the first box, signed as told.
  private func ask(
    _ scene: Scene, _ method: String, _ path: String, key: SigningKey?, session: String? = nil,
    sequence: UInt64 = 1, body: [UInt8] = [], scheme: String = "https",
    bend: (inout ClientRequest) -> Void = { _ in }
  ) async throws -> ClientResponse {
    let url = "\(scheme)://127.0.0.1:\(scene.box.port)\(path)"
    var headers = HTTPHeaders()
    if let key {
      HTTPMessageSignature.sign(
        method: method, url: url, headers: &headers, body: body, keyID: DeviceID(key: key.verifyingKey).hex, key: key,
        created: 1, nonce: session, sequence: sequence)
    }
    var request = ClientRequest(method: method, url: url, headers: headers, body: method == "GET" ? nil : body)
    request.pin = TLSIdentity.pin(of: scene.fixture.keys[0].verifyingKey)
    request.totalTimeout = .seconds(20)
    bend(&request)
    return try await client.send(request)
  }

  private func ask(
    _ scene: Scene, _ path: String, key: SigningKey?, session: String? = nil, sequence: UInt64 = 1,
    scheme: String = "https", bend: (inout ClientRequest) -> Void = { _ in }
  ) async throws -> ClientResponse {
    try await ask(
      scene, "GET", path, key: key, session: session, sequence: sequence, scheme: scheme, bend: bend)
  }

  private func session(_ scene: Scene) async throws -> String {
    let response = try await ask(scene, "POST", SiteMessages.path(scene.own, "session"), key: scene.neighbour)
    #expect(response.status == 200)
    return try #require(try JSONValue(parsing: response.body)["session"]?.string)
  }

  @Test func aNeighbourMayReadChunksAndIndexesAndNothingElse() async throws {
    let scene = try await scene()
    let session = try await session(scene)
    let chunk = try await ask(scene, scene.path, key: scene.neighbour, session: session, sequence: 1)
    #expect(chunk.status == 200)
    #expect(Digest(of: try Zstd.decompress(chunk.body, limit: scene.chunk.length)) == scene.chunk.id)
    let index = try await ask(
      scene, SiteMessages.path(scene.own, "\(scene.indexDigest.hex)/index"), key: scene.neighbour,
      session: session, sequence: 2)
    #expect(Digest(of: index.body) == scene.indexDigest)

    let (digest, id) = (scene.indexDigest.hex, scene.chunk.id.hex)
    let other = Digest(of: Array("other".utf8)).hex
    var number: UInt64 = 10
    for rest in [
      "", "share", "session", "\(digest)", "\(digest)/", "\(digest)/index/", "\(digest)/index?x", "\(digest)/chunks/",
      "\(digest)/chunks/\(other)", "\(other)/chunks/\(id)", "\(other)/index", "\(digest)/chunks/\(id)?x=1",
      "\(digest)/chunks/..%2F..%2Fkeys%2Fdevice.key", "../../../keys/device.key",
      "\(digest)/chunks/../../../etc/passwd",
      "%2e%2e/keys/device.key", "\(digest)/chunks/\(id)/x", "\(digest)/chunks/\(id)%00", "repo/metadata/root.json",
      String(repeating: "a", count: 3000),
    ] {
      number += 1
      let answer = try await ask(
        scene, SiteMessages.path(scene.own, rest), key: scene.neighbour, session: session, sequence: number)
      // libcurl resolves dots itself, so that the request may be for somewhere else altogether.
      #expect([400, 401, 404].contains(answer.status), "\(rest): \(answer.status)")
      #expect(answer.body.count < 200, "\(rest)")
    }
    for method in ["PUT", "DELETE", "POST", "PATCH"] {
      number += 1
      let answer = try await ask(scene, method, scene.path, key: scene.neighbour, session: session, sequence: number)
      #expect(answer.status == 404, "\(method)")
    }
    // A range is not honoured: chunks are whole or not at all.
    let ranged = try await ask(scene, scene.path, key: scene.neighbour, session: session, sequence: 100) {
      $0.headers.set("Range", "bytes=0-3")
    }
    #expect(ranged.status == 200)
    #expect(ranged.body == chunk.body)
    await scene.fixture.stop()
  }

  @Test func strangersAreToldApartByNothing() async throws {
    let scene = try await scene()
    let session = try await session(scene)
    let stranger = SigningKey.generate()
    var answers: [ClientResponse] = []
    // Without a signature, with an unknown key, and for what is there and what is not.
    for path in [scene.path, SiteMessages.path(scene.own, "session"), "/", "/site/v1/x"] {
      answers.append(try await ask(scene, path, key: nil))
      answers.append(try await ask(scene, path, key: stranger, session: session))
    }
    answers.append(try await ask(scene, "POST", SiteMessages.path(scene.own, "session"), key: stranger))
    // The box's own key is no neighbour's.
    answers.append(try await ask(scene, scene.path, key: scene.fixture.keys[0], session: session))
    // The neighbour's name with another's signature.
    answers.append(
      try await ask(scene, scene.path, key: scene.neighbour, session: session) { request in
        var forged = HTTPHeaders()
        HTTPMessageSignature.sign(
          method: "GET", url: request.url, headers: &forged, body: [],
          keyID: DeviceID(key: scene.neighbour.verifyingKey).hex, key: stranger, created: 1, nonce: session,
          sequence: 9)
        request.headers = forged
      })
    // Signed for another path, another body, another number.
    answers.append(
      try await ask(scene, scene.path, key: scene.neighbour, session: session) { $0.url += "?fetch" })
    answers.append(
      try await ask(scene, scene.path, key: scene.neighbour, session: session) {
        $0.headers.set("Skerry-Sequence", "77")
      })
    answers.append(
      try await ask(scene, "POST", SiteMessages.path(scene.own, "share"), key: scene.neighbour, session: session) {
        $0.body = .bytes(Array("{}".utf8))
      })
    // Signed by the neighbour, but for another box.
    let other = DeviceID(key: stranger.verifyingKey)
    answers.append(
      try await ask(
        scene, SiteMessages.path(other, "\(scene.indexDigest.hex)/index"), key: scene.neighbour,
        session: session))
    for answer in answers {
      #expect(answer.status == 401)
      #expect(answer.body == answers[0].body)
      #expect(answer.headers["Server"] == nil)
    }
    #expect(scene.box.site.strangers.load(ordering: .relaxed) == answers.count)
    #expect(scene.box.record(of: "box-1")?.servedChunks == 0)
    await scene.fixture.stop()
  }

  @Test func aRequestIsGoodOnceAndForItsSessionOnly() async throws {
    let scene = try await scene()
    let session = try await session(scene)
    #expect(try await ask(scene, scene.path, key: scene.neighbour, session: session, sequence: 4).status == 200)
    for _ in 0..<3 {
      #expect(try await ask(scene, scene.path, key: scene.neighbour, session: session, sequence: 4).status == 403)
    }
    #expect(scene.box.files.records.of("attack").map { $0.fields["attack"] } == ["replay"])
    #expect(try await ask(scene, scene.path, key: scene.neighbour, session: nil, sequence: 5).status == 401)
    #expect(try await ask(scene, scene.path, key: scene.neighbour, session: "elsewhere", sequence: 6).status == 401)
    #expect(try await ask(scene, scene.path, key: scene.neighbour, session: session, sequence: 3).status == 200)
    await scene.fixture.stop()
  }

  @Test func sessionsThatCannotBePutOnRecordAreNotOpenedAndTooManyNeither() async throws {
    let scene = try await scene()
    let path = SiteMessages.path(scene.own, "session")
    scene.box.files.records.fail(true)
    #expect(try await ask(scene, "POST", path, key: scene.neighbour).status == 503)
    scene.box.files.records.fail(false)
    var opened = 0
    for number in 0..<20 {
      let status = try await ask(scene, "POST", path, key: scene.neighbour, sequence: UInt64(number)).status
      #expect([200, 503].contains(status))
      if status == 200 { opened += 1 }
    }
    #expect((7...12).contains(opened))
    #expect(scene.box.files.records.of("site").count == opened)
    await scene.fixture.stop()
  }

  @Test func plainHTTPAndOtherKeysGetNoWord() async throws {
    let scene = try await scene()
    await #expect(throws: HTTPClientError.self) {
      try await ask(scene, scene.path, key: scene.neighbour, scheme: "http")
    }
    do {
      _ = try await ask(scene, scene.path, key: scene.neighbour) {
        $0.pin = TLSIdentity.pin(of: scene.neighbour.verifyingKey)
      }
      Issue.record("another key was taken for the box's")
    } catch let error as HTTPClientError { #expect(error.kind == .pinMismatch) }
    await scene.fixture.stop()
  }

  @Test func garbageFromANeighbourIsRefusedInBoundedMemory() async throws {
    let scene = try await scene()
    let session = try await session(scene)
    let path = SiteMessages.path(scene.own, "share")
    for (number, body) in ["", "{", "[]", "{\"index\":\"zz\",\"state\":\"whole\"}", "null"].enumerated() {
      let answer = try await ask(
        scene, "POST", path, key: scene.neighbour, session: session, sequence: UInt64(number + 1),
        body: Array(body.utf8))
      #expect(answer.status == 400, "\(body)")
    }
    let large = [UInt8](repeating: 0x20, count: 1 << 20)
    let answer = try await ask(
      scene, "POST", path, key: scene.neighbour, session: session, sequence: 50, body: large)
    #expect(answer.status == 413)
    await scene.fixture.stop()
  }
}
