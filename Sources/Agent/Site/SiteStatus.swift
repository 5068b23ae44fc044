import Fleet
import Models
import Trust
import Web

extension SiteService {
  /// What an administrator needs to name this box elsewhere, and how it gets on with its neighbours; those that are not
  /// left alone are asked for a sign of life first.
  func status() async -> JSONValue {
    let nothing = SiteMessages.Share(index: Digest(of: []), state: .none)
    let answering = Set(await exchange(nothing).map(\.0.key))
    let now = Neighbourhood.now
    let neighbours = hood.boxes.map { box -> JSONValue in
      let record = hood.record(of: box)
      let conduct = record.conduct
      let rests = max(0, conduct.restsUntil - now)
      return [
        "name": .string(box.name), "address": .string(box.address), "device": .string(box.id.hex),
        "state": .string(answering.contains(box.key) ? "reachable" : SiteService.word(for: conduct.lastTrouble)),
        "restsSeconds": .integer(Int64(rests.rounded(.up))), "lies": .integer(Int64(conduct.lies)),
        "lastSeen": record.lastSeen.map(JSONValue.integer) ?? .null,
        "takenChunks": .integer(Int64(record.takenChunks)),
        "takenBytes": .integer(Int64(clamping: record.takenBytes)),
        "servedChunks": .integer(Int64(record.servedChunks)),
        "servedBytes": .integer(Int64(clamping: record.servedBytes)),
      ]
    }
    return [
      "device": .string(identity.id.hex), "key": .string(identity.key.verifyingKey.hex), "address": listening,
      "serving": .bool(port != nil), "problem": problem.map(JSONValue.string) ?? .null,
      "neighbours": .array(neighbours), "hubBytes": .integer(Int64(clamping: bytesFromHub)),
      "refused": .integer(Int64(strangers.load(ordering: .relaxed))),
    ]
  }

  /// The configured address, with the port that was really taken.
  private var listening: JSONValue {
    guard let text = configuration.listen else { return .null }
    guard let port, let colon = text.lastIndex(of: ":") else { return .string(text) }
    return .string("\(text[..<colon]):\(port)")
  }

  private static func word(for trouble: NeighbourConduct.Event?) -> String {
    switch trouble {
    case .lied: "lied"
    case .refused: "refused"
    case .slow: "slow"
    default: "unreachable"
    }
  }
}

extension LocalAPI {
  func addSite(to router: inout GovernedRouter) {
    router.on("GET", "/skerry/v1/site", .needs(.statusRead)) { request, _, _ in
      return .json(200, await site.status())
    }
  }
}
