import Models
import Trust

/// What a line of a chat that begins with a slash asks for.
enum ChatCommand: Equatable {
  case leave, help, clear, show
  /// Nil: the model's own, or a variant's.
  case system(String?)
  /// A setting under the name that the agent knows it by; null takes it away.
  case set(name: String, value: JSONValue)

  static let helpText = """
    /clear            forgets what was said
    /system TEXT      what the model is told before everything else; without TEXT nothing
    /set NAME VALUE   temperature, top_p, seed, num_predict, stop and the like; without VALUE as it was
    /show             the settings
    /bye              leaves, as Ctrl-D does
    Several lines are one prompt between \"\"\" and \"\"\", with a backslash at each line's end, or when they are pasted.
    Ctrl-C stops an answer; the arrow keys and Ctrl-R find earlier prompts.
    """

  /// Nil when the line is no command. Throws what is wrong with it, in words.
  init?(_ line: String) throws(Fault) {
    guard line.hasPrefix("/") else { return nil }
    let words = line.split(separator: " ", maxSplits: 1).map(String.init)
    let rest = words.count > 1 ? trimmed(words[1]) : ""
    switch words.first {
    case "/bye", "/exit", "/quit": self = .leave
    case "/help", "/?": self = .help
    case "/clear": self = .clear
    case "/show": self = .show
    case "/system": self = .system(rest.isEmpty ? nil : rest)
    case "/set": self = try ChatCommand.setting(rest)
    case let word: throw Fault(message: "there is no \(word ?? line); /help tells what there is")
    }
  }

  struct Fault: Error, Equatable { let message: String }

  private static func setting(_ text: String) throws(Fault) -> ChatCommand {
    let parts = text.split(separator: " ", maxSplits: 1).map(String.init)
    let name = parts.first ?? ""
    guard let option = GenerationOption.named(name), let engineName = option.engineName else {
      let known = GenerationOption.all.filter { $0.engineName != nil }.map(\.name).joined(separator: ", ")
      throw Fault(message: "/set takes one of \(known)" + (name.isEmpty ? "" : ", not \(name)"))
    }
    guard parts.count > 1 else { return .set(name: engineName, value: .null) }
    guard let value = option.value(from: trimmed(parts[1])) else {
      throw Fault(message: "\(name) is \(option.allowed), not \(parts[1])")
    }
    return .set(name: engineName, value: value)
  }
}
