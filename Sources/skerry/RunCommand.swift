import CommandLine
import Trust

let runNoun = Noun(
  CommandSpec(
    "run", "ask a model: one prompt, or a chat",
    discussion: """
      With a prompt, or with one on standard input, it prints the answer as it comes and ends. Without, it holds a \
      chat that remembers what was said. Ctrl-C stops an answer, Ctrl-D leaves, and /help tells the rest: /clear, \
      /system, /set, prompts of several lines.

      Prompts are kept for the arrow keys in ~/.local/state/skerry/history, which only you can read; SKERRY_HISTORY \
      names another file, or says off. Keys are those of emacs, or what ~/.editrc makes of them.

      With --json it prints one value when the answer is complete.
      """,
    arguments: [
      ArgumentSpec("MODEL", "the model's name", completion: .names("models")),
      ArgumentSpec("PROMPT", "what to ask; several words are one prompt", .optionalRepeating),
    ],
    options: [
      OptionSpec("system", value: "TEXT", "what the model is told before everything else"),
      OptionSpec("max-tokens", value: "N", "the longest answer"),
      OptionSpec("temperature", value: "T", "0 always takes the likeliest word; 1 is lively"),
      OptionSpec("no-history", "keep nothing of what is typed"),
      OptionSpec("stats", "tell the speed on standard error"),
    ],
    examples: [
      Example("skerry run smollm2-135m \"What is a skerry?\"", "one answer"),
      Example("skerry run smollm2-135m < letter.txt", "the prompt from a file"),
      Example("skerry run smollm2-135m", "a chat"),
    ])
) { invocation in
  let words = invocation.command.arguments("PROMPT")
  var chat = try Chat(invocation)
  if !words.isEmpty {
    try await answerOnce(&chat, prompt: words.joined(separator: " "), invocation)
  } else if Terminal.input.isTTY && !invocation.json {
    try await converse(&chat, invocation)
  } else {
    let prompt = trimmed(String(decoding: try readFile("-", limit: 4 << 20), as: UTF8.self))
    guard !prompt.isEmpty else {
      throw UsageError(path: ["run"], "the prompt is empty: give one as an argument or on standard input")
    }
    try await answerOnce(&chat, prompt: prompt, invocation)
  }
}

private func answerOnce(_ chat: inout Chat, prompt: String, _ invocation: Invocation) async throws {
  let answer = try await chat.ask(prompt, agent: invocation.agent) { text in
    if !invocation.json { showText(text, invocation.console) }
  }
  if invocation.json {
    invocation.console.say(answer.json(model: chat.model).encodedPretty())
  } else if !answer.text.hasSuffix("\n") {
    invocation.console.say("\n")
  }
  if invocation.command.flag("stats") { invocation.console.note(answer.speed) }
}

/// A model's words on a terminal must not command it.
func showText(_ text: String, _ console: Console) {
  console.say(Terminal.output.isTTY ? Voice.printable(text) : text)
}
