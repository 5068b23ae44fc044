import Glibc
import Host

/// An engine that a description tells how to start.
struct DescribedAdapter: EngineAdapter {
  let name: String
  let description: EngineDescription

  var program: String { description.program }
  var abilities: EngineAbilities { description.embeddings ? [.embeddings] : [] }
  var listening: EngineListening { description.listensOnSocket ? .unixSocket : .loopbackPort }
  var readinessPath: String { description.readiness }
  let watchesInput = false
  var takesSecret: Bool {
    (description.arguments + description.environment.values).contains { $0.contains("{secret}") }
  }
  var form: String? { description.form }
  var stopSchedule: [(signal: Int32, wait: Duration)] {
    description.stop.map { ($0.signal, .seconds($0.seconds)) }
  }
  var remedy: String { description.remedy }
  var confinement: EngineConfinement {
    EngineConfinement(
      freedom: [.processes, .files, .internet, .code],
      visible: ["/usr"] + EngineProgram.environment(program) + description.visible)
  }

  func requestName(_ model: EngineModel) -> String { description.requestName ?? model.name }

  func command(_ model: EngineModel, _ kind: EngineKind, _ plan: EnginePlan, at place: EnginePlace) -> EngineCommand {
    var values = [
      "model": place.model, "alias": model.name, "context": String(plan.contextTokens), "slots": String(plan.slots),
      "threads": String(plan.threads > 0 ? plan.threads : 1), "secret": place.address.secret ?? "",
    ]
    switch place.address {
    case .unix(let path, _): values["socket"] = path
    case .loopback(let port, _): values["port"] = String(port)
    }
    let fill = { (template: String) in EngineDescription.fill(template, values) }
    // A setting of the model's own is passed on as it stands; `engine.arguments` are llama-server's.
    return EngineCommand(
      arguments: description.arguments.map(fill), environment: description.environment.mapValues(fill))
  }
}
