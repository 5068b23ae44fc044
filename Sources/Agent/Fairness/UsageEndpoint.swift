import Access
import FoundationEssentials
import Trust
import Web

extension LocalAPI {
  func addUsage(to router: inout GovernedRouter) {
    router.on(
      "GET", "/skerry/v1/usage",
      .decides(.metricsRead, on: "the box", besides: [.statusRead: "in its place for one's own, with mine=true"])
    ) { request, _, caller in
      let isOwn = request.query("mine") == "true"
      let verb = isOwn ? Verb.statusRead : .metricsRead
      try await access.authorize(caller, verb, .all(for: verb))
      return .json(200, try await usage(request, of: isOwn ? caller.label : request.query("caller")))
    }
  }

  private func usage(_ request: HTTPRequest, of caller: String?) async throws -> JSONValue {
    let today = clock.now() / 86_400
    let until = try day(request, "until") ?? today + 1
    let since = try day(request, "since") ?? today - 29
    guard since <= until else { throw APIFailure.badRequest("\"since\" must not be after \"until\"") }
    let columns = try LocalAPI.columns(request.query("by") ?? "day,model")
    let rows = try await usageLedger.sums(since: since, until: until, by: columns, caller: caller)
    let total = try await usageLedger.sums(since: since, until: until, by: [], caller: caller)
    return [
      "since": .string(LocalAPI.text(day: since)), "until": .string(LocalAPI.text(day: until)),
      "by": .array(columns.map { .string($0.rawValue) }),
      "rows": .array(
        rows.map { row in
          var members = LocalAPI.members(row.sums)
          for (column, value) in zip(columns, row.group) {
            members[column.rawValue] = .string(column == .day ? LocalAPI.text(day: Int64(value) ?? 0) : value)
          }
          return .object(members)
        }), "total": .object(LocalAPI.members(total.first?.sums ?? UsageRow.Sums())),
    ]
  }

  private func day(_ request: HTTPRequest, _ name: String) throws(APIFailure) -> Int64? {
    guard let text = request.query(name) else { return nil }
    guard let date = TUFTime.parse(text + "T00:00:00Z") else {
      throw .badRequest("\"\(name)\" must be a day, YYYY-MM-DD")
    }
    return Int64(date.timeIntervalSince1970) / 86_400
  }

  private static func text(day: Int64) -> String {
    String(TUFTime.format(Date(timeIntervalSince1970: Double(day) * 86_400)).prefix(10))
  }

  private static func columns(_ text: String) throws(APIFailure) -> [UsageColumn] {
    var columns: [UsageColumn] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) where !text.isEmpty {
      guard let column = UsageColumn(rawValue: String(word)), !columns.contains(column) else {
        throw .badRequest(
          "\"by\" must name each once of " + UsageColumn.allCases.map(\.rawValue).joined(separator: ", "))
      }
      columns.append(column)
    }
    return columns
  }

  private static func members(_ sums: UsageRow.Sums) -> [String: JSONValue] {
    [
      "requests": .integer(sums.completed + sums.failed + sums.cancelled), "completed": .integer(sums.completed),
      "failed": .integer(sums.failed), "cancelled": .integer(sums.cancelled),
      "promptTokens": .integer(sums.promptTokens), "cachedTokens": .integer(sums.cachedTokens),
      "completionTokens": .integer(sums.completionTokens), "milliseconds": .integer(sums.milliseconds),
    ]
  }
}
