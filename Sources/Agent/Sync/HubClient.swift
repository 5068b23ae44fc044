import Fleet
import FoundationEssentials
import Trust
import Web

/// Signed requests to one hub, and its answers as values. Whatever the hub sends, the worst is a `SyncError`.
struct HubClient: Sendable {
  /// `https://host:port`.
  let hub: String
  let pin: String
  let identity: DeviceIdentity
  let tables: SyncTables
  let http: HTTPClient
  /// What everything from the hub passes; nil: nothing is counted or held back.
  var gate: TransferGate?
  let now: @Sendable () -> Int64
  var patience = Patience()

  /// How slowly a file may come before it is given up.
  struct Patience: Sendable {
    /// Seconds for any file, and for each further KiB that it may have.
    var base = 60.0
    var perKiB = 1.0

    func total(_ limit: Int) -> Duration { .seconds(base + perKiB * Double(limit) / 1024) }
  }

  /// An answer to a JSON request may have this many bytes.
  private static let answerLimit = 1 << 20
  /// The highest number that a hub's word makes the box jump to. A hub in false hands must not be able to use all
  /// numbers up: the true one refuses those beyond Int64, and the box could never sync again.
  private static let highestJump: UInt64 = 1 << 62
  /// How long the hub may take to answer a signed request.
  private static let answerTimeout: Duration = .seconds(60)

  // MARK: requests

  /// One signed POST of JSON, and the answer decoded.
  func post<Answer: Decodable>(_ path: String, _ body: some Encodable, as type: Answer.Type) async throws -> Answer {
    let response = try await post(path, body: JSONValue(encoding: body).encoded(), contentType: "application/json")
    guard (200..<300).contains(response.status) else { throw HubClient.refusal(response, to: path) }
    do {
      return try JSONValue(parsing: response.body).decoded(as: Answer.self)
    } catch {
      throw SyncError.garbage(what: path, reason: HubClient.brief(error))
    }
  }

  /// One signed POST; any status is an answer. When the hub has seen a higher sequence number than this box knows of
  /// (its disk was restored), the box jumps ahead and asks once more.
  func post(_ path: String, body: [UInt8], contentType: String) async throws -> ClientResponse {
    let first = try await send(path, body, contentType)
    guard first.status == 409, let refusal = HubClient.hubError(first), refusal.code == .staleSequence,
      let last = refusal.error.last, last < HubClient.highestJump
    else { return first }
    try await tables.jumpSequence(past: last)
    return try await send(path, body, contentType)
  }

  private func send(_ path: String, _ body: [UInt8], _ contentType: String) async throws -> ClientResponse {
    // The number is on disk before it is sent, so that none is ever used twice.
    let sequence = try await tables.nextSequence()
    var headers = HTTPHeaders()
    headers.set("content-type", contentType)
    headers.set("accept", "application/json, */*;q=0.5")
    let url = hub + path
    HTTPMessageSignature.sign(
      method: "POST", url: url, headers: &headers, body: body, keyID: identity.id.hex, key: identity.key,
      created: now(), sequence: sequence)
    var request = ClientRequest(method: "POST", url: url, headers: headers, body: body)
    request.totalTimeout = HubClient.answerTimeout
    request.maxResponseBytes = HubClient.answerLimit
    let response = try await perform(request)
    gate?.count(body.count + response.body.count)
    return response
  }

  /// A file of the repository; nil when there is none. Throws `SourceFault.endless` for more than `limit` bytes, and
  /// `SourceFault.slow` for one that trickles in.
  func get(_ path: String, limit: Int) async throws -> [UInt8]? {
    var request = ClientRequest(method: "GET", url: hub + path)
    request.maxResponseBytes = limit
    request.totalTimeout = patience.total(limit)
    request.pace = gate?.pace
    let response: ClientResponse
    do {
      response = try await perform(request)
    } catch SyncError.tooLarge {
      throw SourceFault.endless(limit: limit)
    }
    switch response.status {
    case 200: return response.body
    case 404: return nil
    default: throw HubClient.refusal(response, to: path)
    }
  }

  /// A file of the repository from some byte on, piece by piece. Throws `RegistryError.notServed` when there is none.
  func download(
    _ path: String, length: UInt64, from offset: UInt64, take: @Sendable ([UInt8]) async throws -> Void
  ) async throws {
    let download = RangedDownload(
      length: length,
      open: { headers, bytes in
        var request = ClientRequest(method: "GET", url: hub + path, headers: headers)
        request.maxResponseBytes = Int.max / 2
        request.totalTimeout = bytes.map { patience.total($0) }
        request.pace = gate?.pace
        try await gate?.admit(Int(RangedDownload.piece))
        return try await http.stream(prepared(request))
      },
      refusal: { $0.status == 404 ? RegistryError.notServed(path) as any Error : HubClient.refusal($0, to: path) },
      nonsense: { SyncError.garbage(what: path, reason: $0) })
    try await named(hub + path, isFile: true) { try await download.run(from: offset, take: take) }
  }

  /// An index or a chunk, when the gate lets it through. Throws `TransferHold` when it must wait.
  func blob(_ path: String, limit: Int) async throws -> [UInt8]? {
    try await gate?.admit(limit)
    return try await get(path, limit: limit)
  }

  private func perform(_ request: ClientRequest) async throws -> ClientResponse {
    try await named(request.url, isFile: request.method == "GET") { try await http.send(prepared(request)) }
  }

  private func prepared(_ request: ClientRequest) -> ClientRequest {
    var request = request
    request.pin = pin
    request.connectTimeout = .seconds(10)
    request.lowSpeed = (bytesPerSecond: 100, seconds: 30)
    return request
  }

  /// The client's errors as the sync knows them.
  private func named<T>(_ url: String, isFile: Bool, _ work: () async throws -> T) async throws -> T {
    do {
      return try await work()
    } catch let error as HTTPClientError {
      switch error.kind {
      case .pinMismatch: throw SyncError.wrongKey(hub: hub, reason: error.message)
      case .tooLarge: throw SyncError.tooLarge(what: url, reason: error.message)
      case .cancelled: throw CancellationError()
      case .timeout where error.isTrickle && isFile: throw SourceFault.slow
      case .unreachable: throw SyncError.unreachable(hub: hub, reason: error.message)
      default: throw SyncError.lost(hub: hub, reason: error.message)
      }
    }
  }

  // MARK: answers

  static func hubError(_ response: ClientResponse) -> HubError? {
    try? JSONValue(parsing: response.body).decoded(as: HubError.self)
  }

  static func refusal(_ response: ClientResponse, to path: String) -> SyncError {
    if let error = hubError(response) { return .refused(error, status: response.status) }
    return .garbage(what: path, reason: "HTTP status \(response.status)")
  }

  /// What was wrong, without what the hub sent.
  private static func brief(_ error: any Error) -> String {
    switch error {
    case let error as JSONSyntaxError: error.description
    case DecodingError.keyNotFound(let key, _): "\(key.stringValue) is missing"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context),
      DecodingError.dataCorrupted(let context):
      context.codingPath.map(\.stringValue).joined(separator: ".") + ": " + context.debugDescription
    default: "\(error)"
    }
  }
}
