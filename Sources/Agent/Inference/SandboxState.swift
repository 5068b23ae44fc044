import Glibc
import Host

/// Whether engines run in a sandbox here, found out once at the start, and what of it is in force.
struct SandboxState: Sendable, Hashable {
  let mode: AgentConfiguration.SandboxMode
  let isActive: Bool
  /// Why not.
  let reason: String?
  var sandbox = Sandbox()
  var hasFilter = true
  /// Where engines get control groups of their own; nil where the agent may not make any.
  var place: BoundedGroup.Place?

  /// `active`, `off` or `unavailable`.
  var state: String { isActive ? "active" : mode == .off ? "off" : "unavailable" }

  /// What holds an engine, by what is held, for people.
  var inForce: [String: String] {
    guard isActive else { return [:] }
    let isRoot = getuid() == 0
    return [
      "network": "none", "files": "read-only but for a socket and 64 MiB", "privileges": "none to gain",
      "systemCalls": hasFilter ? "filtered" : "not filtered: no filter is known for this processor",
      "memory": place?.boundsMemory == true ? "control group" : "per process",
      "processes": place != nil
        ? "control group" : isRoot ? "by the system-call filter alone, as the agent runs as root" : "per engine",
    ]
  }

  /// Tries out whether a sandbox can be had, where one is wanted.
  static func find(_ mode: AgentConfiguration.SandboxMode) async -> SandboxState {
    guard mode != .off else { return SandboxState(mode: mode, isActive: false, reason: "switched off") }
    let sandbox = Sandbox()
    let filter = SeccompFilter.Architecture.current.map { SeccompFilter($0, []) }
    switch await sandbox.probe(filter) {
    case .available:
      let place = BoundedGroup.find()
      if let place { BoundedGroup.sweep(place) }
      return SandboxState(
        mode: mode, isActive: true, reason: nil, sandbox: sandbox, hasFilter: filter != nil, place: place)
    case .unavailable(let reason):
      Log.shared.warning("no sandbox for engines", ["reason": reason, "mode": mode.rawValue])
      return SandboxState(mode: mode, isActive: false, reason: reason)
    }
  }

  /// A control group for one engine; nil where there is no place for any.
  func makeGroup(_ name: String, processes: Int, memory: UInt64) -> BoundedGroup? {
    guard let place else { return nil }
    do {
      return try BoundedGroup("skerry-\(getpid())-\(name)", in: place, processes: processes, memory: memory)
    } catch {
      Log.shared.warning("an engine gets no control group of its own", ["reason": "\(error)"])
      return nil
    }
  }
}
