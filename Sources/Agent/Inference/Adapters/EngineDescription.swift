import Glibc

/// What a configuration says of an engine.
struct EngineDescription: Sendable, Hashable {
  struct Stop: Sendable, Hashable {
    var signal: Int32
    var seconds: Int
  }

  var program = ""
  /// With placeholders: {model}, {alias}, {context}, {slots}, {threads}, {secret}, and {port} or {socket}.
  var arguments: [String] = []
  var environment: [String: String] = ["PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"]
  var readiness = "/health"
  /// The form of folder that it takes; nil: a GGUF file.
  var form: String?
  /// The name by which requests mean the model; nil: the model's own.
  var requestName: String?
  var embeddings = false
  /// What it reads besides `/usr` and its own environment.
  var visible: [String] = []
  var stop = [Stop(signal: SIGTERM, seconds: 5)]
  var remedy = "install it, or set the program in agent.json5"

  /// Whether it listens on a Unix socket; else on a port.
  var listensOnSocket: Bool { arguments.contains { $0.contains("{socket}") } }

  static let placeholders: Set = ["model", "alias", "context", "slots", "threads", "secret", "port", "socket"]

  /// The template with its placeholders replaced; what they are replaced by is not looked at again.
  static func fill(_ template: String, _ values: [String: String]) -> String {
    var filled = ""
    var rest = Substring(template)
    while let open = rest.firstIndex(of: "{") {
      filled += rest[..<open]
      rest = rest[open...]
      guard let close = rest.firstIndex(of: "}"), let value = values[String(rest[rest.index(after: open)..<close])]
      else {
        filled.append(rest.removeFirst())
        continue
      }
      filled += value
      rest = rest[rest.index(after: close)...]
    }
    return filled + rest
  }
}
