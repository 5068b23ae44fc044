import Agent
import CommandLine
import Glibc

let spec = CommandSpec(
  "skerryd", "the Skerry agent: serves language models on this box, governed and audited",
  discussion:
    "A service; systemd starts it. What it does is set in /etc/skerry/agent.json5; options win over the file. skerryd --man prints this as a manual page.",
  options: [
    OptionSpec("config", short: "c", value: "FILE", "the configuration file", completion: .files),
    OptionSpec("state-directory", value: "DIR", "the same as --set stateDirectory=DIR", completion: .files),
    OptionSpec("socket", value: "PATH", "the same as --set listen.socket=PATH", completion: .files),
    OptionSpec("listen", value: "HOST:PORT", "the same as --set listen.tcp=HOST:PORT"),
    OptionSpec("set", short: "s", value: "KEY=VALUE", "set one key, such as engine.slots=4", repeats: true),
    OptionSpec("check", "print the effective configuration, or what is wrong with it, and end"),
  ])
let command = Program.parse(spec, version: agentVersion, isService: true)
let named = [("state-directory", "stateDirectory"), ("socket", "listen.socket"), ("listen", "listen.tcp")]
let source = ConfigurationSource(
  file: command.option("config"),
  overrides: command.options("set").map(ConfigurationSource.override)
    + named.compactMap { option, key in command.option(option).map { (key, $0) } })
exit(command.flag("check") ? Daemon.check(source) { Voice.say($0) } : await Daemon.run(source))
