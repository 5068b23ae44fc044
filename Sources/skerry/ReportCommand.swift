import CommandLine
import Trust

let reportNoun = Noun(
  CommandSpec(
    "report", "write the compliance report of this box",
    discussion: """
      Without a file it prints a summary, or with --json the report itself. --html writes the page that a person \
      reads, --output the JSON.
      """,
    options: [
      OptionSpec("html", value: "FILE", "write the page here", completion: .files),
      OptionSpec("output", short: "o", value: "FILE", "write the JSON here", completion: .files),
    ],
    examples: [Example("skerry report --html report.html", "a page that a person can read")])
) { invocation in
  var files: [(String, Int)] = []
  if let file = invocation.command.option("html") {
    let page = try await invocation.agent.bytes("GET", "/skerry/v1/report.html")
    try OutputFile.write(page, to: file)
    files.append((file, page.count))
  }
  let output = invocation.command.option("output")
  guard files.isEmpty || output != nil || invocation.json else {
    invocation.console.say(written(files))
    return
  }
  let report = try await invocation.agent.json("GET", "/skerry/v1/report")
  if let output {
    let bytes = report.encodedPretty()
    try OutputFile.write(bytes, to: output)
    files.append((output, bytes.count))
  }
  invocation.answer(report) { files.isEmpty ? reportText(report) : written(files) }
}

private func written(_ files: [(String, Int)]) -> String {
  files.map { "\($0.0): \(Readable.bytes(UInt64($0.1)))\n" }.joined()
}

func reportText(_ report: JSONValue) -> String {
  let device = report["device"] ?? .null
  let findings = report.list("findings")
  var text = facts([
    ("box", device["name"]?.string.map { "\($0) (device \(device.text("id")))" }),
    ("made", report["generatedAt"]?.integer.map(timestamp)),
    (
      "models",
      report["models"]?.array.map { $0.map { "\($0.text("name")) \($0.text("version")): \($0.text("state"))" } }?
        .joined(separator: "\n")
    ),
    ("roles", report["roles"]?.array.map { $0.map { $0.text("name") }.joined(separator: ", ") }),
    ("findings", findings.isEmpty ? "none" : "\(findings.count)"),
  ])
  for finding in findings {
    text += "  " + Voice.printable("\(finding.text("severity")): \(finding.text("message"))") + "\n"
    if let remedy = finding["remedy"]?.string, !remedy.isEmpty { text += "    " + Voice.printable(remedy) + "\n" }
  }
  return text
}
