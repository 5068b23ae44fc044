import Access
import Host
import Trust
import Web

/// The agent's face on the box: OpenAI's and Ollama's APIs for applications, and Skerry's own for its command line.
struct LocalAPI: Sendable {
  let configuration: AgentConfiguration
  let name: String
  let access: AccessControl
  let breakGlass: BreakGlass
  let registry: ModelRegistry
  let variants: VariantStore
  let headers: ModelHeaders
  let inference: InferenceService
  let scrubber: Scrubber
  let sync: SyncService
  let site: SiteService
  let bundles: BundleService
  let reporter: ComplianceReporter
  let log: AuditLog
  let content: ContentDesk
  let desk: InferenceDesk
  let counters: APICounters
  let usageLedger: UsageLedger
  let identity: DeviceIdentity
  let sandbox: SandboxState
  let startedAt: Duration
  let clock: TrustedClock

  /// Everything that is answered, and by whom. What it has, `APIDocument` describes.
  func router() -> GovernedRouter {
    var router = GovernedRouter(access: access) {
      try await caller($0)
    } limit: {
      try await desk.gate.manage($0)
    }
    router.open("GET", "/openapi.json", "says what the API is, and nothing about the box") { _, _ in
      .json(200, APIDocument.make())
    }
    addOpenAI(to: &router)
    addResponses(to: &router)
    addAnthropic(to: &router)
    addOllama(to: &router)
    addStatus(to: &router)
    addUsage(to: &router)
    addModels(to: &router)
    addPlans(to: &router)
    addStore(to: &router)
    addRoles(to: &router)
    addBreakGlass(to: &router)
    addAudit(to: &router)
    addContent(to: &router)
    addSync(to: &router)
    addSite(to: &router)
    addBundles(to: &router)
    return router
  }

  /// The handler for the server.
  func handler() -> HTTPServer.Handler {
    let router = router().router
    return { [counters] request in
      let notes = RateNotes()
      var response = try await RateNotes.$current.withValue(notes) { try await LocalAPI.answer(request, router) }
      for header in notes.headers { response.headers.set(header.name, header.value) }
      counters.count(status: response.status)
      return response
    }
  }

  /// The router's answer; errors in the form that the callers of the path expect.
  private static func answer(_ request: HTTPRequest, _ router: Router) async throws -> HTTPResponse {
    do {
      return try await router.handle(request)
    } catch let error as CancellationError {
      throw error
    } catch let error as HTTPFailure {
      return response(error, target: request.path)
    } catch {
      let failure = APIFailure(error)
      if failure.status == 500 { Log.shared.error("request failed", ["path": request.path, "reason": "\(error)"]) }
      return response(failure, target: request.path, adding: HTTPHeaders())
    }
  }

  /// The server's own refusals (too large, too busy, malformed) in the form of the API that was meant.
  static func response(_ error: HTTPFailure, target: String) -> HTTPResponse {
    let failure = APIFailure(status: error.status, code: error.code, message: error.message, hint: error.hint)
    return response(failure, target: target, adding: error.headers)
  }

  private static func response(_ failure: APIFailure, target: String, adding headers: HTTPHeaders) -> HTTPResponse {
    var response = HTTPResponse.json(failure.status, Dialect(path: target).body(failure))
    for field in headers.all { response.headers.add(field.name, field.value) }
    if let seconds = failure.retryAfter { response.headers.set("Retry-After", String(seconds)) }
    if let again = failure.shouldRetry { response.headers.set("X-Should-Retry", again ? "true" : "false") }
    // RFC 6750 §3.
    if failure.status == 401 { response.headers.set("WWW-Authenticate", "Bearer realm=\"skerry\"") }
    return response
  }

  // MARK: what every endpoint begins with

  /// Who sent the request: the kernel's word on the Unix socket, a token on TCP.
  func caller(_ request: HTTPRequest) async throws -> Caller {
    var caller =
      switch request.peer {
      case .unix(let uid, let gid, _): access.localCaller(uid: uid, gid: gid)
      // Anthropic's clients send their key in a header of their own.
      case .tcp(let address):
        try await access.tokenCaller(
          authorization: request.headers["Authorization"] ?? request.headers["X-Api-Key"].map { "Bearer \($0)" },
          from: NetworkAddress(address))
      }
    caller.activated = try LocalAPI.activated(request)
    return caller
  }

  /// The roles that the request is to be made with, where it says so: `Skerry-Roles: chat, operator`.
  private static func activated(_ request: HTTPRequest) throws(APIFailure) -> Set<String>? {
    guard let header = request.headers["Skerry-Roles"] else { return nil }
    let names = header.split(separator: ",", omittingEmptySubsequences: false).map {
      String($0.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
    guard names.count <= 64, names.allSatisfy(Role.isName) else {
      throw .badRequest("the header Skerry-Roles must name roles, with commas between them")
    }
    return Set(names)
  }

  func body(_ request: HTTPRequest) async throws -> [UInt8] {
    try await request.body.collect(upTo: configuration.limits.maxBodyBytes)
  }

  /// The body's members, with no others than these.
  func members(_ request: HTTPRequest, _ known: [String]) async throws -> [String: JSONField] {
    let bytes = try await body(request)
    let document = bytes.isEmpty ? .object([:]) : try InferenceRequest.document(bytes)
    do { return try JSONField(document).members(known) } catch { throw APIFailure.badRequest(error.description) }
  }

  /// Reads one member, with its complaint as a bad request.
  func required<T>(
    _ members: [String: JSONField], _ name: String, _ read: (JSONField) throws(JSONFieldError) -> T
  ) throws(APIFailure) -> T {
    guard let field = members[name] else { throw .badRequest("\"\(name)\" is missing") }
    do { return try read(field) } catch { throw .badRequest(error.description) }
  }

  // MARK: what routes say of what they ask for

  static let someModel = "any model: what is shown is what the caller may list"
  static let bodysModel = "the model that the body names"
  static let refusesAlways = "does nothing: always refused"

  // MARK: models that a caller may know of

  /// The installed models that the caller may list. One decision for the whole list: it is allowed as far as roles
  /// go, and denied to who may list none at all.
  func visibleModels(_ caller: Caller) async throws -> [InstalledModel] {
    let all = await registry.installed()
    let visible = all.filter { access.allows(caller, .modelList, .model($0.name.description)) }
    if let first = visible.first {
      try await access.authorize(caller, .modelList, .model(first.name.description))
    } else {
      try await access.authorize(caller, .modelList, .all(for: .modelList))
    }
    return visible
  }

  /// One model by its name, or by name and version. Whatever its state: resolving would refuse one that is corrupt.
  func find(_ name: String) async throws -> InstalledModel {
    let named = await registry.installed().filter { $0.name.description == name || $0.manifest.label == name }
    let best = named.max { ($0.state == .active ? 1 : 0, $0.version) < ($1.state == .active ? 1 : 0, $1.version) }
    guard let best else { throw APIFailure.unknownModel(name) }
    return best
  }
}
