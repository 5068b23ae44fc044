import CommandLine
import Glibc
import Web

let defaultSocket = "/run/skerry/skerry.sock"

extension Invocation {
  var socketPath: String { command.option("socket") ?? environment("SKERRY_SOCKET") ?? defaultSocket }

  /// The agent of this box.
  var agent: API {
    let socket = socketPath
    var api = API(base: "http://localhost", unixSocket: socket) { agentFailure($0, socket: socket) }
    api.roles = command.options("as")
    return api
  }
}

/// Why the agent could not be asked, and what to do about it.
func agentFailure(_ error: HTTPClientError, socket: String) -> CommandFailure {
  switch error.kind {
  case .unreachable: return noAnswer(at: socket)
  case .timeout:
    return CommandFailure("the agent took too long to answer", hint: "try again, or see its log", status: .tryLater)
  case .cut:
    return CommandFailure(
      "the agent broke off its answer", hint: "see its log: journalctl -u skerryd", status: .tryLater)
  default: return CommandFailure("the agent could not be asked: \(error.message)", status: .io)
  }
}

private func noAnswer(at socket: String) -> CommandFailure {
  let elsewhere = "if it listens elsewhere, name its socket with --socket or SKERRY_SOCKET"
  if access(socket, F_OK) != 0 {
    if errno == EACCES {
      return CommandFailure(
        "\(socket) can't be reached: permission denied", hint: "become a user who may, such as root", status: .denied)
    }
    return CommandFailure(
      "no agent is here: there is no socket \(socket)", hint: "start it: systemctl start skerryd; \(elsewhere)",
      status: .hubUnavailable)
  }
  if access(socket, W_OK) != 0 {
    return CommandFailure(
      "you may not write to \(socket)", hint: "its socketMode in agent.json5 says who may", status: .denied)
  }
  return CommandFailure(
    "the agent does not answer at \(socket)", hint: "see: systemctl status skerryd; \(elsewhere)",
    status: .hubUnavailable)
}
