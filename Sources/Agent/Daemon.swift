import Glibc
import Host

/// The agent as a service: started by systemd or by hand, stopped and reloaded by signals (systemd.service(5),
/// sd_notify(3)).
public enum Daemon {
  /// Runs until SIGTERM or SIGINT; the exit status.
  public static func run(_ source: ConfigurationSource) async -> Int32 {
    Signals.ignoreBrokenPipe()
    do {
      let signals = try Signals.stream([SIGTERM, SIGINT, SIGHUP])
      let agent = try await Agent.start(source)
      Log.threshold = agent.logLevel
      Systemd.notify("READY=1\nSTATUS=Serving on \(agent.socketPath)")
      let watchdog = Task { await watch(agent) }
      defer { watchdog.cancel() }
      for await signal in signals {
        if signal == SIGHUP {
          Systemd.notifyReloading()
          if let level = await agent.reload() { Log.threshold = level }
          Systemd.notify("READY=1")
          continue
        }
        Systemd.notify("STOPPING=1\nSTATUS=Letting requests end")
        Log.shared.notice("stopping", ["signal": "\(signal)"])
        await agent.stop()
        return 0
      }
      return AgentStartError.software
    } catch {
      let failure = AgentStartError(error)
      Log.shared.error(failure.description)
      Systemd.notify("STATUS=\(failure.description)")
      return failure.exitStatus
    }
  }

  /// Prints the effective configuration, or what is wrong with it; the exit status.
  public static func check(_ source: ConfigurationSource, print: (String) -> Void) -> Int32 {
    do {
      let configuration = try source.load()
      _ = try AccessControl.readPolicy(configuration.policyDirectory + "/roles.json5")
      print(String(decoding: configuration.effective.encodedPretty(), as: UTF8.self))
      for engine in EngineAdapters(configuration).missing(for: configuration) {
        // Good configuration all the same: the engine may be installed later, and nothing else waits for it.
        Log.shared.warning(
          "an engine is not installed: its models can't answer",
          ["engine": engine.name, "program": engine.program, "remedy": engine.remedy])
      }
      return 0
    } catch {
      Log.shared.error("\(error)")
      return AgentStartError.configuration
    }
  }

  /// Tells systemd's watchdog that all is well, only while the agent answers its own API.
  private static func watch(_ agent: Agent) async {
    guard let interval = Systemd.watchdogInterval else { return }
    while !Task.isCancelled {
      if await agent.answersItself(within: interval / 3) {
        Systemd.notify("WATCHDOG=1")
      } else {
        Log.shared.error("the agent does not answer its own API")
      }
      try? await Task.sleep(for: interval / 3)
    }
  }
}
