import Fleet
import Host
import Storage
import Trust

/// What the operator can do with a hub's directory at hand, whether or not the hub runs: the database takes both.
public struct HubAdministration: Sendable {
  private let state: HubState
  private let repository: Repository

  public init(directory: String) throws {
    state = try HubState(directory: directory)
    repository = Repository(
      files: RepositoryFiles(directory: state.repositoryDirectory), onlineKey: state.onlineKey)
  }

  public func close() { state.store.close() }

  /// A new enrolment token; `lifetime` in seconds. Throws `HubError` (not_published).
  public func createToken(lifetime: Int64) async throws -> EnrollmentToken {
    try await state.makeEnrollmentToken(lifetime: lifetime, now: Clock.unixTime())
  }

  /// Takes away what no metadata names any more. The hub must not run: it does the same by itself. Throws
  /// `InstanceLock.Failure` when it does.
  public func collect(grace: Int64, isDryRun: Bool) async throws -> RepositoryGarbage.Found {
    let lock = try InstanceLock(directory: state.directory)
    defer { withExtendedLifetime(lock) {} }
    return try await repository.collect(grace: grace, now: Clock.unixTime(), isDryRun: isDryRun)
  }

  /// All boxes by name.
  public func devices() async throws -> [DeviceView] {
    var views: [DeviceView] = []
    for device in try await state.store.devices() { views.append(try await view(device)) }
    return views
  }

  /// A box by its id, the beginning of it, or its name. Throws `HubError` (not_found, conflict).
  public func device(_ text: String) async throws -> DeviceView {
    let all = try await state.store.devices()
    let exact = all.filter { $0.id.hex == text || $0.name == text }
    let found = exact.isEmpty && text.count >= 4 ? all.filter { $0.id.hex.hasPrefix(text) } : exact
    guard let device = found.first else {
      throw HubError(.notFound, "this hub has no box “\(text)”", hint: "see: skerry-hub device list")
    }
    guard found.count == 1 else {
      throw HubError(.conflict, "“\(text)” is more than one box", hint: "use the id from: skerry-hub device list")
    }
    return try await view(device)
  }

  /// The same with its report and events, for programs.
  public func detailedJSON(_ view: DeviceView) async throws -> JSONValue {
    view.detailedJSON(events: try await state.store.events(view.device.id, limit: 50))
  }

  /// From now on the box's requests are refused.
  public func revoke(_ view: DeviceView) async throws {
    _ = try await state.store.revoke(view.device.id, now: Clock.unixTime())
  }

  /// Nil assigns all models of the repository. Throws `HubError` (malformed) for what is no `Assignment` word.
  public func assign(_ view: DeviceView, models: [String]?) async throws {
    for word in models ?? [] where !Assignment.isWord(word) {
      throw HubError(
        .malformed, "“\(word)” is no model's name", hint: "write NAME, NAME:VERSION, or NAME=VERSION for a rollback")
    }
    _ = try await state.store.assign(
      view.device.id, models: Assignment(view.device.assigned).assigning(models).words)
  }

  private func view(_ device: DeviceRecord) async throws -> DeviceView {
    DeviceView(
      device, report: try await state.store.report(device.id), hub: try await repository.versions(),
      now: Clock.unixTime())
  }
}
