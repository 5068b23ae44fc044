import Access
import CommandLine

/// The verbs of the box's policy that each command asks for, by the command's words. A command that is not here does not
/// talk to the agent; one with no verb asks for none, as its help says.
let commandVerbs: [String: [Verb]] = [
  "status": [.statusRead], "enroll": [.enroll], "sync": [.syncRun], "site": [.statusRead],
  "model list": [.modelList], "model show": [.modelList], "model plan": [.modelList], "model verify": [.modelManage],
  "model load": [.modelManage], "model unload": [.modelManage], "model pin": [.modelManage],
  "model unpin": [.modelManage], "model gc": [.modelManage], "model scrub": [.modelManage, .statusRead],
  "run": [.infer], "ps": [.statusRead], "bench": [.modelManage, .infer, .statusRead],
  "role list": [.roleRead], "role show": [.roleRead], "role bind": [.roleManage], "role unbind": [.roleManage],
  "role explain": [.roleRead], "role simulate": [.auditRead], "role who-can": [.roleRead],
  "role what-may": [.roleRead], "role conflicts": [.roleRead], "role policy": [.roleRead],
  "token create": [.tokenManage], "token list": [.tokenManage], "token revoke": [.tokenManage],
  "break-glass open": [], "break-glass status": [.roleRead], "break-glass close": [],
  "audit list": [.auditRead], "audit head": [.auditRead], "audit search": [.auditRead], "audit tail": [.auditRead],
  "audit prove": [.auditRead], "audit export": [.auditExport], "audit content": [.auditContent],
  "audit erase": [.auditErase],
  "usage": [.metricsRead], "report": [.reportRead],
  "bundle import": [.syncRun], "bundle export": [.syncRun, .enroll],
]

extension CommandSpec {
  /// The same with what each command asks for in its help.
  func asking(_ path: [String] = []) -> CommandSpec {
    var made = self
    made.subcommands = subcommands.map { $0.asking(path + [$0.name]) }
    if let verbs = commandVerbs[path.joined(separator: " ")] {
      made.asks = verbs.isEmpty ? "no verb" : verbs.map(\.rawValue).joined(separator: ", ")
    }
    return made
  }
}
