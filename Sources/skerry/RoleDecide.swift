import Access
import CommandLine
import Storage
import Trust

let defaultPolicyFile = "/etc/skerry/policies/roles.json5"

let roleLintSpec = CommandSpec(
  "lint", "say what in a policy file does nothing, or not what it seems to",
  discussion: """
    Names rules that never count, rules that others make superfluous or void, roles that nobody holds, roles that exclude \
    each other and come together, and a policy that nobody could mend. Ends with status 1 where there is something to say.
    """,
  arguments: [
    ArgumentSpec(
      "FILE", "the policy file, or a fleet's policy (default: \(defaultPolicyFile))", .optional, completion: .files)
  ])

let roleDecideSpec = CommandSpec(
  "decide", "decide questions by a policy file, with no agent",
  discussion: """
    Reads one JSON object a line from standard input and writes one: {"subjects": ["uid:1000", "local"], "verb": "infer", \
    "resource": "model:smollm2", "roles": ["chat"], "context": {"time": "mon 08:30", "via": "network", "address": \
    "10.0.0.1", "labels": {"site": "oslo"}, "contextTokens": 100}}. What roles and context leave out is not known, or not \
    asked for. A line {"policy": …} is a policy for the lines that follow.
    """,
  options: [
    OptionSpec("policy", value: "FILE", "the policy file", default: defaultPolicyFile, completion: .files),
    OptionSpec("explain", "say the rule, the reason and the remedy too"),
  ],
  examples: [
    Example(
      "echo '{\"subjects\":[\"local\"],\"verb\":\"infer\",\"resource\":\"model:x\"}' | skerry role decide",
      "would that be allowed?")
  ])

func readPolicy(_ path: String) throws -> Policy {
  guard let bytes = try DurableFile.read(path, limit: 1 << 20) else {
    throw CommandFailure("there is no file \(path)", status: .noInput)
  }
  do { return try Policy(parsing: bytes) } catch { throw CommandFailure("\(path): \(error)", status: .data) }
}

/// What there is to say of a policy file, or of a fleet's policy.
private func lint(_ path: String) throws -> [LintFinding] {
  guard let bytes = try DurableFile.read(path, limit: FleetPolicy.limit), FleetPolicy.isMeant(bytes) else {
    return try readPolicy(path).lint()
  }
  let policy: FleetPolicy
  do { policy = try FleetPolicy(parsing: bytes) } catch { throw CommandFailure("\(path): \(error)", status: .data) }
  return policy.errors() + policy.warnings()
}

let roleLint: Runner = { invocation in
  let path = invocation.command.optionalArgument("FILE") ?? defaultPolicyFile
  let findings = try lint(path)
  let listed = findings.map { finding -> JSONValue in
    ["kind": .string(finding.kind.rawValue), "path": .string(finding.path), "problem": .string(finding.problem)]
  }
  invocation.answer(["file": .string(path), "findings": .array(listed)]) {
    findings.isEmpty ? "\(path): nothing to say\n" : findings.map { "\($0)\n" }.joined()
  }
  if !findings.isEmpty {
    throw CommandFailure("\(findings.count) thing\(findings.count == 1 ? "" : "s") to look at in \(path)")
  }
}

let roleDecide: Runner = { invocation in
  let isExplained = invocation.command.flag("explain")
  let path = invocation.command.option("policy") ?? defaultPolicyFile
  // One that is named is read whether or not a question comes; the usual one need not be there when a line brings its own.
  var policy = path == defaultPolicyFile ? nil : try readPolicy(path)
  var number = 0
  while let line = readLine() {
    number += 1
    if line.allSatisfy({ $0 == " " }) { continue }
    do {
      let document = JSONField(try JSONValue(parsing: Array(line.utf8)))
      if let given = document.value["policy"] {
        policy = try Policy(parsing: given.encoded())
        continue
      }
      let asked = try policy ?? readPolicy(path)
      policy = asked
      invocation.console.say(try decide(document, asked, isExplained).encoded() + [0x0A])
    } catch let failure as CommandFailure {
      throw failure
    } catch {
      throw CommandFailure("line \(number): \(error)", hint: "skerry role decide --help shows a line", status: .data)
    }
  }
}

private func decide(_ document: JSONField, _ policy: Policy, _ isExplained: Bool) throws -> JSONValue {
  let members = try document.members(["subjects", "verb", "resource", "roles", "context"])
  var subjects: [Subject] = []
  for field in try (members["subjects"]?.array(of: "subjects") ?? []) {
    let text = try field.string()
    guard let subject = Subject.parse(text) else {
      throw field.wrong("\"\(text)\" is no subject", allowed: Subject.allowed)
    }
    subjects.append(subject)
  }
  guard let verb = try members["verb"]?.choice(Verb.self) else {
    throw document.wrong("verb is missing", allowed: "one of \(Verb.allCases.map(\.rawValue).joined(separator: ", "))")
  }
  guard let resource = try members["resource"].flatMap({ Resource(parsing: try $0.string()) }) else {
    throw document.wrong("resource is missing, or none", allowed: "KIND:NAME")
  }
  let context = try members["context"].map { try RequestContext($0) } ?? RequestContext()
  var roles: Set<String>?
  if let field = members["roles"], !field.isNull {
    roles = Set(try field.array(of: "role names").map { try $0.string() })
  }
  let label = subjects.map(\.description).joined(separator: " ")
  let caller = Caller(subjects: subjects, label: label, transport: context.transport, activated: roles)
  let decision = policy.decide(caller, verb, resource, in: context)
  var answer: [String: JSONValue] = ["allowed": .bool(decision.isAllowed)]
  guard isExplained else { return .object(answer) }
  switch decision {
  case .allowed(let grounds):
    answer["role"] = .string(grounds.role)
    answer["rule"] = .string(grounds.description)
  case .denied(let denial):
    answer["reason"] = .string(denial.reason)
    answer["remedy"] = .string(denial.remedy.description)
  }
  return .object(answer)
}
