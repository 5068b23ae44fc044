import Fleet
import Glibc
import Models
import Storage
import Synchronization
import Trust
import Web

@testable import Agent

/// The hub as a site's boxes see it: a publisher's chunks, with a delay and a count.
final class CountingHub: FleetSource {
  let publisher: Publisher
  private let delay: Duration
  private let state = Mutex<(bytes: UInt64, chunks: [ChunkID: Int], isGone: Bool)>((0, [:], false))

  init(_ publisher: Publisher, delay: Duration = .milliseconds(5)) {
    self.publisher = publisher
    self.delay = delay
  }

  var bytes: UInt64 { state.withLock(\.bytes) }
  /// How often each chunk was fetched.
  var chunks: [ChunkID: Int] { state.withLock(\.chunks) }
  func goAway() { state.withLock { $0.isGone = true } }
  func forget() { state.withLock { ($0.bytes, $0.chunks) = (0, [:]) } }

  func imageMetadata(_ file: String, limit: Int) async throws -> [UInt8]? { nil }
  func directorMetadata(_ file: String, limit: Int) async throws -> [UInt8]? { nil }

  func index(_ digest: Digest, limit: Int) async throws -> [UInt8] {
    try gone()
    return try await publisher.index(digest, limit: limit)
  }

  func chunk(_ id: ChunkID, limit: Int) async throws -> [UInt8] {
    try gone()
    try await Task.sleep(for: delay)
    let bytes = try await publisher.chunk(id, limit: limit)
    state.withLock { state in
      state.bytes += UInt64(bytes.count)
      state.chunks[id, default: 0] += 1
    }
    return bytes
  }

  private func gone() throws {
    if state.withLock(\.isGone) { throw SyncError.unreachable(hub: "hub", reason: "no route") }
  }
}

/// A box of a site: a registry and a listener of its own.
final class SiteBox: Sendable {
  let files: RegistryBox
  let registry: ModelRegistry
  let site: SiteService
  let port: Int

  init(_ name: String, key: SigningKey, port: Int, configuration: SiteConfiguration, patience: SitePatience)
    async throws
  {
    files = try RegistryBox()
    let registry = try await files.open()
    self.registry = registry
    self.port = port
    site = SiteService(
      configuration: configuration, identity: DeviceIdentity(key: key),
      store: try ContentStore(root: files.scratch.path + "/registry"),
      surroundings: .init(
        audit: files.records.writer, whole: { await registry.verified(index: $0) }, now: { 1_800_000_000 }),
      patience: patience)
    site.start()
  }

  func sync(_ hub: CountingHub, _ trusted: TrustedMetadata) async throws -> ReconcileResult {
    try await registry.reconcile(trusted: trusted, desired: nil, source: site.source(over: hub))
  }

  func record(of name: String) -> Neighbourhood.Record? {
    site.hood.boxes.first { $0.name == name }.map { site.hood.record(of: $0) }
  }
}

/// Boxes that know each other, on loopback, and stand-ins for some of them.
final class SiteFixture: Sendable {
  let keys: [SigningKey]
  let ports: [Int]
  let boxes: [SiteBox]
  private let servers: [HTTPServer]

  static func name(_ number: Int) -> String { "box-\(number)" }

  /// `standIns`: what answers in the place of a box of this number, with that box's key.
  init(
    _ count: Int, patience: SitePatience = SitePatience(), standIns: [Int: HTTPServer.Handler] = [:],
    settings: (inout SiteConfiguration) -> Void = { _ in }
  ) async throws {
    let keys = (0..<count).map { _ in SigningKey.generate() }
    let ports = try SiteFixture.freePorts(count)
    var configuration = SiteConfiguration()
    configuration.neighbours = (0..<count).map {
      .init(name: SiteFixture.name($0), address: "127.0.0.1:\(ports[$0])", key: keys[$0].verifyingKey)
    }
    configuration.maxConnections = 512
    settings(&configuration)
    var boxes: [SiteBox] = []
    var servers: [HTTPServer] = []
    for number in 0..<count {
      if let handler = standIns[number] {
        let tls = try TLSIdentity.selfSigned(key: keys[number], commonName: "stand-in")
        var made = HTTPServer.Configuration(listeners: [.tcp(host: "127.0.0.1", port: ports[number])])
        made.tls = (tls.keyPEM, tls.certificatePEM)
        let server = HTTPServer(made, handler: handler)
        try server.start()
        servers.append(server)
        continue
      }
      var own = configuration
      own.listen = "127.0.0.1:\(ports[number])"
      boxes.append(
        try await SiteBox(
          SiteFixture.name(number), key: keys[number], port: ports[number], configuration: own, patience: patience))
    }
    (self.keys, self.ports, self.boxes, self.servers) = (keys, ports, boxes, servers)
    for box in boxes where box.site.isServing {
      while box.site.port == nil { try await Task.sleep(for: .milliseconds(5)) }
    }
  }

  func stop() async {
    for box in boxes { await box.site.stop() }
    for server in servers { await server.stop() }
  }

  /// All boxes sync at the same time.
  func sync(_ hub: CountingHub, _ trusted: TrustedMetadata) async throws -> [ReconcileResult] {
    try await withThrowingTaskGroup(of: ReconcileResult.self) { group in
      for box in boxes { group.addTask { try await box.sync(hub, trusted) } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
  }

  /// Ports that nobody listened on a moment ago.
  static func freePorts(_ count: Int) throws -> [Int] {
    var descriptors: [Int32] = []
    defer { for descriptor in descriptors { close(descriptor) } }
    return try (0..<count).map { _ in
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      descriptors.append(descriptor)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = inet_addr("127.0.0.1")
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      let port = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bare -> Bool in
          bind(descriptor, bare, length) == 0 && getsockname(descriptor, bare, &length) == 0
        }
      }
      guard port else { throw Scratch.ScratchFailed() }
      return Int(UInt16(bigEndian: address.sin_port))
    }
  }
}

/// What a stand-in answers to the requests that come before chunks: an opened session, and a share of this state.
func standIn(
  _ state: SiteMessages.Share.State, chunk: @escaping @Sendable (HTTPRequest) async throws -> HTTPResponse
) -> HTTPServer.Handler {
  { request in
    let body = try await request.body.collect(upTo: 1 << 20)
    if request.path.hasSuffix("/session") {
      return .json(200, ["session": "0123456789abcdef0123456789abcdef"])
    }
    if request.path.hasSuffix("/share") {
      var share = try JSONValue(parsing: body).decoded(as: SiteMessages.Share.self)
      share.state = state
      share.chunks = nil
      return .json(200, try JSONValue(encoding: share))
    }
    return try await chunk(request)
  }
}
