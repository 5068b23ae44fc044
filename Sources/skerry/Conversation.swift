import CommandLine
import Dispatch
import Glibc
import Host
import LineEditing
import Synchronization
import Trust

/// The chat at a terminal. Ctrl-C stops an answer and never the program; Ctrl-D and /bye leave.
func converse(_ chat: inout Chat, _ invocation: Invocation) async throws {
  let answering = Answering()
  let signals = try Signals.stream([SIGINT, SIGTERM, SIGHUP])
  let watcher = Task {
    for await number in signals {
      if number == SIGINT {
        answering.stop()
      } else {
        LineEditor.restoreTerminal()
        exit(128 + number)
      }
    }
  }
  defer { watcher.cancel() }
  let console = invocation.console
  let agent = invocation.agent
  let lines = ChatLines(invocation)
  console.note("\(chat.model): /help tells what can be typed")
  while let prompt = await lines.prompt() {
    do {
      guard let command = try ChatCommand(prompt) else {
        try await answer(prompt, &chat, agent, answering, invocation)
        continue
      }
      if command == .leave { return }
      obey(command, &chat, console)
    } catch let fault as ChatCommand.Fault {
      console.note(Voice.printable(fault.message))
    }
  }
  console.say("\n")
}

private func obey(_ command: ChatCommand, _ chat: inout Chat, _ console: Console) {
  switch command {
  case .leave: break
  case .help: console.note(ChatCommand.helpText)
  case .clear:
    chat.clear()
    console.note("forgotten")
  case .system(let text):
    chat.setSystem(text)
    console.note(text == nil ? "nothing is said before the chat" : "from here on")
  case .set(let name, let value): chat.set(name, value)
  case .show:
    let settings = chat.settings.sorted { $0.key < $1.key }.map { name, value in
      "\(name) \(String(decoding: value.encoded(), as: UTF8.self))"
    }
    let all = ["model \(chat.model)"] + (chat.system.map { ["system \($0)"] } ?? []) + settings
    console.note(Voice.printable(all.joined(separator: "\n")))
  }
}

private func answer(
  _ prompt: String, _ chat: inout Chat, _ agent: API, _ answering: Answering, _ invocation: Invocation
) async throws {
  let before = chat
  let task = Task { () async -> (Chat, Result<Chat.Answer, any Error>) in
    var chat = before
    do {
      let answer = try await chat.ask(prompt, agent: agent) { showText($0, invocation.console) }
      return (chat, .success(answer))
    } catch {
      return (chat, .failure(error))
    }
  }
  answering.start(task)
  let (after, result) = await task.value
  answering.finish()
  chat = after
  invocation.console.say("\n")
  switch result {
  case .success(let answer):
    if invocation.command.flag("stats") { invocation.console.note(answer.speed) }
  case .failure(is CancellationError): invocation.console.note("stopped")
  case .failure(let failure as CommandFailure) where failure.status == .tryLater || failure.status == .data:
    // The chat goes on; the next question may do better.
    invocation.console.note(Voice.errorText(program: "skerry", failure.message, hint: failure.hint))
  case .failure(let error): throw error
  }
}

/// The answer that is being given, for Ctrl-C to stop.
private final class Answering: Sendable {
  private typealias Answer = Task<(Chat, Result<Chat.Answer, any Error>), Never>
  private let task = Mutex<Answer?>(nil)

  func start(_ task: Task<(Chat, Result<Chat.Answer, any Error>), Never>) { self.task.withLock { $0 = task } }
  func finish() { task.withLock { $0 = nil } }
  func stop() { task.withLock { $0?.cancel() } }
}

/// What is typed, with an editor and a history where the terminal has them.
private final class ChatLines: Sendable {
  private let editor: LineEditor?
  private let console: Console
  /// Told once that the history can't be kept.
  private let isTold = Mutex(false)

  init(_ invocation: Invocation) {
    console = invocation.console
    let isEdited = Terminal.output.isTTY && invocation.environment("TERM") != "dumb"
    editor = isEdited ? LineEditor(program: "skerry", history: historyFile(invocation)) : nil
  }

  /// The next prompt that isn't empty; nil at the end.
  func prompt() async -> String? {
    var reader = PromptReader()
    while true {
      switch await line(reader.isOpen ? "... " : ">>> ") {
      case .end: return nil
      case .interrupted:
        if !reader.isOpen { console.note("Ctrl-D or /bye leaves") }
        reader.cancel()
      case .line(let line):
        guard let prompt = reader.take(line).map(trimmed), !prompt.isEmpty else { continue }
        remember(prompt)
        return prompt
      }
    }
  }

  /// It is read on a thread that may wait.
  private func line(_ prompt: String) async -> LineEditor.Reading {
    if editor == nil { console.say(prompt) }
    return await withCheckedContinuation { continuation in
      DispatchQueue.global().async { [editor] in
        continuation.resume(returning: editor?.read(prompt) ?? readLine().map { .line($0) } ?? .end)
      }
    }
  }

  private func remember(_ prompt: String) {
    do { try editor?.remember(prompt) } catch {
      let isNew = isTold.withLock { told in
        defer { told = true }
        return !told
      }
      if isNew { console.note("\(error)") }
    }
  }
}

/// Where prompts are kept: `$SKERRY_HISTORY`, or else below `$XDG_STATE_HOME` or the home folder. Nil: nowhere, by
/// --no-history, or because the variable says `off`.
func historyFile(_ invocation: Invocation) -> HistoryFile? {
  guard !invocation.command.flag("no-history") else { return nil }
  if let path = invocation.environment("SKERRY_HISTORY") { return path == "off" ? nil : HistoryFile(path: path) }
  // The specification of base directories: a relative path is no value.
  let state = invocation.environment("XDG_STATE_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
  guard let folder = state ?? invocation.environment("HOME").map({ $0 + "/.local/state" }) else { return nil }
  return HistoryFile(path: folder + "/skerry/history")
}
