import Fleet
import Glibc
import Host
import Storage

/// The hub as a long-running program: holds its directory, tells systemd, and ends on SIGTERM or SIGINT.
public enum HubProgram {
  /// Runs until a signal asks it to end. `ready` gets the hub once it listens.
  public static func serve(directory: String, ready: (Hub) -> Void = { _ in }) async throws {
    guard DurableFile.exists(directory + "/hub.json5") else { throw HubSetupError.notAHub(directory) }
    let lock = try InstanceLock(directory: directory)
    defer { withExtendedLifetime(lock) {} }
    Signals.ignoreBrokenPipe()
    let signals = try Signals.stream([SIGTERM, SIGINT])
    let hub = try Hub(directory: directory)
    try await hub.start()
    Log.shared.notice(
      "hub listens", ["url": hub.url, "port": String(hub.port), "state": directory, "version": skerryVersion])
    Systemd.notify("READY=1\nSTATUS=Serving \(hub.url)")
    let watchdog = Task {
      guard let interval = Systemd.watchdogInterval else { return }
      while !Task.isCancelled {
        Systemd.notify("WATCHDOG=1")
        do { try await Task.sleep(for: interval / 2) } catch { return }
      }
    }
    ready(hub)
    for await signal in signals {
      Log.shared.notice("hub stops", ["signal": signal == SIGTERM ? "SIGTERM" : "SIGINT"])
      break
    }
    Systemd.notify("STOPPING=1")
    watchdog.cancel()
    await hub.stop()
  }
}
