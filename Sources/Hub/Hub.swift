import Fleet
import FoundationEssentials
import Host
import Storage
import Synchronization
import Trust
import Web

/// The hub as one server: device API, admin API, repository and dashboard on one TLS port.
public final class Hub: Sendable {
  private let state: HubState
  private let repository: Repository
  private let director: Director
  private let server: HTTPServer
  /// The operators' routes and what each asks for, for the check that they are governed.
  let adminRoutes: [AdminRouter.Route]
  private let keeper = Mutex<Task<Void, Never>?>(nil)

  /// Opens a hub's directory. Throws `HubSetupError` and `StorageError`.
  public init(directory: String) throws {
    let state = try HubState(directory: directory)
    let files = RepositoryFiles(directory: state.repositoryDirectory)
    let repository = Repository(files: files, onlineKey: state.onlineKey)
    let director = Director(
      directory: state.repositoryDirectory + "/director", store: state.store, repository: repository,
      onlineKey: state.onlineKey)
    var router = Router()
    DeviceAPI(state: state, repository: repository, director: director).add(to: &router)
    RepositoryRoutes(files: files).add(to: &router)
    DirectorRoutes(store: state.store, director: director).add(to: &router)
    var governed = AdminRouter(router, AdminAuthentication(store: state.store))
    AdminAPI(state: state, repository: repository, director: director, files: files).add(to: &governed)
    BreakGlassRoutes(state: state).add(to: &governed)
    RetentionRoutes(state: state).add(to: &governed)
    OperatorRoutes(state: state).add(to: &governed)
    PassRoutes(state: state).add(to: &governed)
    BundleRoutes(state: state, maker: BundleMaker(state: state, director: director, files: files)).add(to: &governed)
    Dashboard(state: state, repository: repository).add(to: &governed)
    var configuration = HTTPServer.Configuration(
      listeners: [.tcp(host: state.configuration.listenHost, port: state.configuration.listenPort)])
    configuration.tls = (state.tlsKeyPEM, state.tlsCertificatePEM)
    configuration.maxBody = AdminAPI.largestIndex
    configuration.allowance = Hub.allowance
    // Before a signature is checked a body is held whole, at most 2 MiB of it: so many at once are affordable.
    configuration.maxInFlight = 64
    configuration.onError = { error, request in
      Log.shared.error("request failed", ["path": request.path, "reason": "\(error)"])
    }
    let routes = governed.router
    server = HTTPServer(configuration) { request in try await routes.handle(request) }
    adminRoutes = governed.routes
    self.state = state
    self.repository = repository
    self.director = director
  }

  /// What takes longer, or is longer, than any other request: a box's bundle, and the check of every chunk of a new model.
  static func allowance(_ method: String, _ target: String) -> HTTPServer.Configuration.Allowance? {
    switch (method, target) {
    case ("POST", "/admin/v1/bundles/take"): .init(maxBody: 1 << 36, requestDeadline: .seconds(6 * 3600))
    case ("POST", "/admin/v1/repo/commit"): .init(maxBody: 1 << 16, requestDeadline: .seconds(3600))
    default: nil
    }
  }

  /// Where it listens; the port is the real one after `start`.
  public var port: Int { server.boundPorts.first ?? state.configuration.listenPort }
  public var url: String { state.configuration.url }
  public var pin: String { state.pin }

  /// Finishes what a crash left, listens, and keeps the repository's timestamp fresh.
  public func start() async throws {
    do { try await repository.recover(now: Date()) } catch {
      Log.shared.error("an interrupted publication could not be finished", ["reason": "\(error)"])
    }
    do { try await director.recover() } catch {
      Log.shared.error("the director does not follow the repository", ["reason": "\(error)"])
    }
    await refresh()
    do { try server.start() } catch let error as ListenError {
      throw HubSetupError.cannotListen(error.description)
    }
    keeper.withLock {
      $0 = Task { [weak self] in
        var rounds = 0
        while !Task.isCancelled {
          do { try await Task.sleep(for: .seconds(600)) } catch { return }
          await self?.refresh()
          // Ten minutes after the start, and then once a day.
          if rounds.isMultiple(of: 144) { await self?.collect() }
          rounds += 1
        }
      }
    }
  }

  /// What no metadata names any more goes.
  private func collect() async {
    do {
      let found = try await repository.collect(grace: Repository.grace, now: Clock.unixTime())
      if !found.isEmpty {
        Log.shared.info("collected garbage", ["chunks": "\(found.chunks)", "bytes": "\(found.bytes)"])
      }
    } catch {
      Log.shared.error("garbage could not be collected", ["reason": "\(error)"])
    }
  }

  private func refresh() async {
    do {
      if try await repository.refresh(now: Date()) { Log.shared.info("signed a fresh timestamp") }
    } catch {
      Log.shared.error("the timestamp could not be signed afresh", ["reason": "\(error)"])
    }
  }

  /// Lets running requests end, within `drain`.
  public func stop(drain: Duration = .seconds(10)) async {
    keeper.withLock { $0.take() }?.cancel()
    await server.stop(drain: drain)
    state.store.close()
  }
}
