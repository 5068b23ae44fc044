import CommandLine
import Fleet
import Trust

let enrollNoun = Noun(
  CommandSpec(
    "enroll", "enrol this box with a hub, by a one-time token",
    discussion: """
      The token is one string from the hub's operator (skerry hub token create). It names the hub, the key that the hub \
      must have, and the digest of the fleet's trusted root, so that nothing on the way can be put in their place.
      """,
    arguments: [ArgumentSpec("TOKEN", "the token, or - to read it from standard input")])
) { invocation in
  let argument = invocation.argument("TOKEN")
  let token = trimmed(argument == "-" ? readLine() ?? "" : argument)
  let parsed: EnrollmentToken
  do {
    parsed = try EnrollmentToken(parsing: token)
  } catch {
    throw CommandFailure("\(error)", hint: "copy the whole token as the hub printed it", status: .data)
  }
  let answer = try await invocation.agent.json("POST", "/skerry/v1/enroll", body: ["token": .string(token)])
  invocation.answer(answer) {
    "enrolled with \(parsed.hub) as device \(answer.text("deviceID"))\n"
  }
  if !invocation.json { invocation.console.note("fetch its models now with: skerry sync") }
}

func trimmed(_ text: String) -> String {
  let isSpace: (Character) -> Bool = { $0.isWhitespace }
  let start = text.drop(while: isSpace)
  return String(start.reversed().drop(while: isSpace).reversed())
}
