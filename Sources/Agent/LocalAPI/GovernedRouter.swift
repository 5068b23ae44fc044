import Access
import Host
import Synchronization
import Web

/// What a route asks of its caller: one verb, or a named reason why none is asked for.
struct RouteNeed: Sendable {
  /// What the verb is asked for.
  enum Target: Sendable, Hashable {
    /// All resources of the verb's kind.
    case all
    /// The model that the path names under this parameter, without its version.
    case model(parameter: String)
    /// What only the route's action can know: who reads what it is, from the body or the query.
    case said(String)
  }

  enum Kind: Sendable {
    case verb(Verb, Target)
    /// A known caller without a verb, and why.
    case known(String)
    /// Nobody in particular, and why.
    case anybody(String)
  }

  let kind: Kind
  /// Further verbs that the action decides on, and when.
  var besides: [Verb: String] = [:]
  /// What it takes is counted as an inference; all other requests have `limits.managementPerMinute`.
  var isInference = false

  /// The verb on all resources of its kind; decided before the action begins.
  static func needs(_ verb: Verb) -> RouteNeed { RouteNeed(kind: .verb(verb, .all)) }

  /// The verb on the model that the path's parameter names; decided before the action begins.
  static func needs(_ verb: Verb, on parameter: String) -> RouteNeed {
    RouteNeed(kind: .verb(verb, .model(parameter: parameter)))
  }

  /// The verb on what the request says; the action decides, and its answer is withheld if it did not.
  static func decides(_ verb: Verb, on what: String, besides: [Verb: String] = [:]) -> RouteNeed {
    RouteNeed(kind: .verb(verb, .said(what)), besides: besides)
  }

  /// No verb, but a caller whom the box knows.
  static func knows(_ reason: String) -> RouteNeed { RouteNeed(kind: .known(reason)) }

  static let asksModel = RouteNeed(kind: .verb(.infer, .said("the model that is asked")), isInference: true)

  /// The verbs that its action may decide on.
  var verbs: Set<Verb> {
    guard case .verb(let verb, _) = kind else { return [] }
    return Set(besides.keys).union([verb])
  }
}

/// One route, and what it asks.
struct GovernedRoute: Sendable {
  let method: String
  let pattern: String
  let need: RouteNeed
}

/// A router that takes no route without a word on what it asks of its caller.
struct GovernedRouter {
  typealias Action = @Sendable (HTTPRequest, PathParameters, Caller) async throws -> HTTPResponse

  private(set) var router = Router()
  private(set) var routes: [GovernedRoute] = []
  private let access: AccessControl
  private let identify: @Sendable (HTTPRequest) async throws -> Caller
  private let limit: @Sendable (Caller) async throws -> Void

  /// - Parameters:
  ///   - identify: who sent a request; throws for nobody that the box knows.
  ///   - limit: counts a request that is no inference; throws when there were too many.
  init(
    access: AccessControl, identify: @escaping @Sendable (HTTPRequest) async throws -> Caller,
    limit: @escaping @Sendable (Caller) async throws -> Void
  ) {
    self.access = access
    self.identify = identify
    self.limit = limit
  }

  /// Adds a route; its action begins when what can be decided beforehand is decided and on record.
  mutating func on(_ method: String, _ pattern: String, _ need: RouteNeed, _ action: @escaping Action) {
    routes.append(GovernedRoute(method: method, pattern: pattern, need: need))
    let (access, identify, limit) = (access, identify, limit)
    router.on(method, pattern) { request, parameters in
      let caller = try await identify(request)
      if !need.isInference { try await limit(caller) }
      let decided = DecidedVerbs()
      let response = try await DecidedVerbs.$current.withValue(decided) {
        switch need.kind {
        case .verb(let verb, .all): try await access.authorize(caller, verb, .all(for: verb))
        case .verb(let verb, .model(let parameter)):
          try await access.authorize(caller, verb, .model(String(parameters[parameter].prefix { $0 != ":" })))
        case .verb(_, .said), .known, .anybody: break
        }
        return try await action(request, parameters, caller)
      }
      guard GovernedRouter.isGoverned(decided.verbs, need, response) else {
        Log.shared.error("a route did not decide what it declares", ["route": "\(method) \(pattern)"])
        throw HTTPFailure(500, "ungoverned", "\(method) \(pattern) did not decide what it declares; this is a defect")
      }
      return response
    }
  }

  /// Adds a route for anybody; the reason says why that is right.
  mutating func open(_ method: String, _ pattern: String, _ reason: String, _ handler: @escaping Router.Handler) {
    routes.append(GovernedRoute(method: method, pattern: pattern, need: RouteNeed(kind: .anybody(reason))))
    router.on(method, pattern, handler: handler)
  }

  /// Nothing but declared verbs was decided, and one of them was wherever the answer is a good one.
  static func isGoverned(_ decided: Set<Verb>, _ need: RouteNeed, _ response: HTTPResponse) -> Bool {
    decided.isSubset(of: need.verbs) && (response.status >= 400 || need.verbs.isEmpty || !decided.isEmpty)
  }
}

/// The verbs that were decided on, and allowed, in a request.
final class DecidedVerbs: Sendable {
  @TaskLocal static var current: DecidedVerbs?
  private let made = Mutex<Set<Verb>>([])

  var verbs: Set<Verb> { made.withLock(\.self) }
  func note(_ verb: Verb) { made.withLock { _ = $0.insert(verb) } }
}
