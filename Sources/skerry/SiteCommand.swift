import CommandLine
import Host
import Trust

let siteNoun = Noun(
  CommandSpec(
    "site", "show this box's key for its neighbours, and how they share models",
    discussion: """
      Boxes of one site fetch a model once and give it to each other. Each is configured with the key and address of the \
      others: the line that begins with entry is what goes into their agent.json5.
      """,
    examples: [Example("skerry site --json", "the same for a program")])
) { invocation in
  let site = try await invocation.agent.json("GET", "/skerry/v1/site")
  invocation.answer(site) { siteText(site, now: Clock.unixTime()) }
}

func siteText(_ site: JSONValue, now: Int64) -> String {
  let address = site["address"]?.string
  let serving =
    site["serving"]?.bool == true
    ? "\(address ?? ""), serving"
    : address.map { "\($0), not serving yet" + (site["problem"]?.string.map { " (\($0))" } ?? "") }
      ?? "none: this box gives nothing to neighbours (site.listen in agent.json5)"
  let entry =
    "{ name: \"\(site.text("device").prefix(8))\", address: \"\(address ?? "HOST:PORT")\", "
    + "key: \"\(site.text("key"))\" }"
  let refused = site["refused"]?.integer ?? 0
  var text = facts([
    ("key", site.text("key")), ("device", site.text("device")), ("address", serving), ("entry", entry),
    ("from the hub", bytes(site, "hubBytes")), ("strangers", refused > 0 ? "\(refused) requests refused" : nil),
  ])
  let neighbours = site.list("neighbours")
  guard !neighbours.isEmpty else { return text + "\nno neighbours are configured (site.neighbours in agent.json5)\n" }
  var table = Table("neighbour", "address", "state", "taken", "given", "last seen", right: ["taken", "given"])
  for neighbour in neighbours {
    let rests = neighbour["restsSeconds"]?.integer ?? 0
    table.add(
      neighbour.text("name"), neighbour.text("address"),
      neighbour.text("state") + (rests > 0 ? ", left alone for \(Readable.seconds(rests))" : ""),
      bytes(neighbour, "takenBytes"), bytes(neighbour, "servedBytes"),
      neighbour["lastSeen"]?.integer.map { "\(Readable.seconds(max(0, now - $0))) ago" } ?? "never")
  }
  text += "\n" + table.render()
  return text
}

private func bytes(_ value: JSONValue, _ key: String) -> String {
  Readable.bytes(UInt64(max(0, value[key]?.integer ?? 0)))
}
