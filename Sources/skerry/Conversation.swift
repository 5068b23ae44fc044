import CommandLine
import Dispatch
import Glibc
import Host
import Synchronization

/// The chat at a terminal. Ctrl-C stops an answer, and ends the program while none is being given.
func converse(_ chat: inout Chat, _ invocation: Invocation) async throws {
  let answering = Answering()
  let interrupts = try Signals.stream([SIGINT])
  let watcher = Task {
    for await _ in interrupts where !answering.stop() {
      invocation.console.say("\n")
      exit(128 + SIGINT)
    }
  }
  defer { watcher.cancel() }
  let agent = invocation.agent
  invocation.console.note("\(chat.model): /help tells what can be typed")
  while let line = await promptedLine(invocation.console) {
    switch trimmed(line) {
    case "": continue
    case "/exit", "/quit", "/bye": return
    case "/clear":
      chat.clear()
      invocation.console.note("forgotten")
    case "/help":
      invocation.console.note("/clear forgets what was said, /exit or Ctrl-D ends, Ctrl-C stops an answer")
    case let prompt:
      try await answer(prompt, &chat, agent, answering, invocation)
    }
  }
  invocation.console.say("\n")
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
  /// False when there was nothing to stop.
  func stop() -> Bool {
    task.withLock { task in
      task?.cancel()
      return task != nil
    }
  }
}

/// A line from the terminal, nil at its end. It is read on a thread that may wait.
private func promptedLine(_ console: Console) async -> String? {
  console.say("> ")
  return await withCheckedContinuation { continuation in
    DispatchQueue.global().async { continuation.resume(returning: readLine()) }
  }
}
