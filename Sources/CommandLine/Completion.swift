/// Tab completion. A shell's script is short and static: it calls the program back with `__complete` and the words so
/// far, and the answer comes from the same tree as everything else.
public enum Completion {
  public enum Shell: String, CaseIterable, Sendable { case bash, zsh, fish }

  /// One word that could stand here, and what it means.
  public struct Candidate: Sendable, Hashable {
    public let word: String
    public let summary: String
    public init(_ word: String, _ summary: String = "") {
      self.word = word
      self.summary = summary
    }
  }

  /// What could stand in the place of the last word.
  public enum Answer: Sendable, Equatable {
    case words([Candidate])
    case files
    case directories
    /// Names that only the program knows, by the key of `ValueCompletion.names`, and what is typed so far.
    case names(String, prefix: String)
  }

  /// What could stand in the place of the last of these words, which may be empty; the program's name is not among them.
  public static func answer(_ root: CommandSpec, _ words: [String]) -> Answer {
    let typed = words.last ?? ""
    var command = root
    var scope = root.options
    var values = 0
    var awaiting: OptionSpec?
    var optionsEnded = false
    for word in words.dropLast() {
      if awaiting != nil {
        awaiting = nil
      } else if optionsEnded || word == "-" || !word.hasPrefix("-") {
        if let next = command.subcommands.first(where: { $0.name == word }) {
          command = next
          scope += next.options
        } else {
          values += 1
        }
      } else if word == "--" {
        optionsEnded = true
      } else {
        awaiting = scope.first { $0.value != nil && ("--" + $0.name == word || $0.short.map { "-\($0)" } == word) }
      }
    }
    if let awaiting { return answer(awaiting.completion, typed, before: "") }
    if !optionsEnded, typed.hasPrefix("--"), let equals = typed.firstIndex(of: "=") {
      let name = typed[..<equals].dropFirst(2)
      guard let option = scope.first(where: { $0.name == name }) else { return .words([]) }
      return answer(option.completion, String(typed[typed.index(after: equals)...]), before: "--\(name)=")
    }
    if !optionsEnded && typed.hasPrefix("-") {
      let all = scope + Program.builtInOptions(besides: scope)
      return matching(all.map { Candidate("--" + $0.name, $0.summary) }, typed)
    }
    if !command.subcommands.isEmpty {
      return matching(command.subcommands.map { Candidate($0.name, $0.summary) }, typed)
    }
    let argument =
      values < command.arguments.count
      ? command.arguments[values] : command.arguments.last.flatMap { $0.repeats ? $0 : nil }
    return argument.map { answer($0.completion, typed, before: "") } ?? .words([])
  }

  private static func answer(_ completion: ValueCompletion, _ typed: String, before: String) -> Answer {
    switch completion {
    case .none: .words([])
    case .files: .files
    case .directories: .directories
    case .choices(let allowed): matching(allowed.map { Candidate(before + $0) }, before + typed)
    case .names(let key): .names(key, prefix: typed)
    }
  }

  private static func matching(_ candidates: [Candidate], _ typed: String) -> Answer {
    .words(candidates.filter { $0.word.hasPrefix(typed) })
  }

  /// What `__complete` prints: a candidate a line, its meaning after a tab; `:files` or `:directories` alone leaves the
  /// work to the shell. `names` looks up the names that only the program knows.
  public static func reply(_ answer: Answer, names: (String) -> [Candidate]) -> String {
    switch answer {
    case .files: ":files\n"
    case .directories: ":directories\n"
    case .words(let candidates): lines(candidates)
    case .names(let key, let prefix): lines(names(key).filter { $0.word.hasPrefix(prefix) })
    }
  }

  private static func lines(_ candidates: [Candidate]) -> String {
    candidates
      .filter { candidate in !candidate.word.contains { $0.isNewline || $0 == "\t" } }
      .map { $0.summary.isEmpty ? "\($0.word)\n" : "\($0.word)\t\($0.summary)\n" }.joined()
  }

  /// The script that a shell reads once.
  public static func script(_ shell: Shell, program: String) -> String {
    let template =
      switch shell {
      case .bash: bash
      case .zsh: zsh
      case .fish: fish
      }
    return template.split(separator: "PROGRAM", omittingEmptySubsequences: false).joined(separator: program)
  }

  private static let bash = #"""
    # bash completion for PROGRAM. Install: PROGRAM completion bash > /etc/bash_completion.d/PROGRAM
    _PROGRAM_complete() {
      local line current words index
      # COMP_WORDBREAKS splits at "=" and ":"; the words of the line itself are wanted.
      line=${COMP_LINE:0:COMP_POINT}
      read -r -a words <<<"$line"
      [[ $line == *[[:space:]] ]] && words+=("")
      current=${words[${#words[@]}-1]}
      local -a answer
      mapfile -t answer < <("${COMP_WORDS[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
      COMPREPLY=()
      case ${answer[0]-} in
        :files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"); return ;;
        :directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}"); return ;;
      esac
      # What readline already holds of the current word is left out of each reply.
      local held=${current%"${COMP_WORDS[COMP_CWORD]}"}
      [[ ${COMP_WORDS[COMP_CWORD]} == [=:] ]] && held=$current
      for index in "${answer[@]}"; do
        index=${index%%$'\t'*}
        index=${index#"$held"}
        [[ -n $index ]] && COMPREPLY+=("$index")
      done
    }
    complete -F _PROGRAM_complete PROGRAM

    """#

  private static let zsh = #"""
    #compdef PROGRAM
    # zsh completion for PROGRAM. Install: PROGRAM completion zsh > /usr/local/share/zsh/site-functions/_PROGRAM
    _PROGRAM() {
      local -a answer names shown
      local line
      answer=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
      case "${answer[1]}" in
        :files) _files; return ;;
        :directories) _files -/; return ;;
      esac
      for line in "${answer[@]}"; do
        [[ -n "$line" ]] || continue
        names+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
      done
      (( ${#names} )) && compadd -l -d shown -a -- names
    }
    if [[ "$funcstack[1]" == "_PROGRAM" ]]; then _PROGRAM "$@"; else compdef _PROGRAM PROGRAM; fi

    """#

  private static let fish = #"""
    # fish completion for PROGRAM. Install: PROGRAM completion fish > ~/.config/fish/completions/PROGRAM.fish
    function __PROGRAM_complete
      set -l words (commandline -opc) (commandline -ct)
      set -l answer ($words[1] __complete -- $words[2..-1] 2>/dev/null)
      switch "$answer[1]"
        case :files
          __fish_complete_path (commandline -ct)
        case :directories
          __fish_complete_directories (commandline -ct)
        case '*'
          printf '%s\n' $answer
      end
    end
    complete -c PROGRAM -f -a '(__PROGRAM_complete)'

    """#
}
