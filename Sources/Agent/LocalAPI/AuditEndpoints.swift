import Fleet
import Trust
import Web

extension LocalAPI {
  func addAudit(to router: inout GovernedRouter) {
    router.on("GET", "/skerry/v1/audit", .needs(.auditRead)) { request, _, _ in
      let from = try LocalAPI.number(request, "from", 0...Int.max) ?? 0
      let limit = try LocalAPI.number(request, "limit", 1...10_000) ?? 100
      let entries = try log.entries(from: UInt64(from), limit: limit)
      return .json(
        200, ["entries": .array(entries), "size": .integer(Int64(clamping: log.head().size))])
    }
    router.on("GET", "/skerry/v1/audit/head", .needs(.auditRead)) { request, _, _ in
      return .text(200, log.signedHead().encoded)
    }
    router.on("GET", "/skerry/v1/audit/search", .needs(.auditRead)) { request, _, _ in
      let selection = try LocalAPI.selection(request)
      let limit = try LocalAPI.number(request, "limit", 1...10_000) ?? 100
      let before = try LocalAPI.number(request, "before", 0...Int.max).map { UInt64($0) } ?? .max
      let entries = try log.search(selection, count: limit, before: before)
      return .json(200, ["entries": .array(entries), "size": .integer(Int64(clamping: log.head().size))])
    }
    router.on("GET", "/skerry/v1/audit/tail", .needs(.auditRead)) { request, _, _ in
      let selection = try LocalAPI.selection(request)
      let from = try LocalAPI.number(request, "from", 0...Int.max).map { UInt64($0) } ?? log.head().size
      return .streaming(200, headers: ["Content-Type": "application/x-ndjson"]) { writer in
        try await log.follow(selection, from: from) {
          // Tokens end, and so do passes, loans and memberships.
          guard let reader = try? await caller(request) else { return false }
          return access.allows(reader, .auditRead, .all(for: .auditRead))
        } to: {
          try await writer.write($0)
        }
      }
    }
    router.on("GET", "/skerry/v1/audit/proof/{n}", .needs(.auditRead)) { request, parameters, _ in
      guard let index = UInt64(parameters["n"]) else { throw APIFailure.badRequest("an entry is named by its number") }
      do {
        return .text(200, try log.proof(of: index).encoded)
      } catch MerkleError.outOfRange {
        throw APIFailure(status: 404, code: "no_entry", message: "the audit log has no entry \(index) yet")
      } catch MerkleError.pruned {
        throw APIFailure(status: 404, code: "no_entry", message: "entry \(index) is no longer kept")
      }
    }
    router.on("GET", "/skerry/v1/audit/export", .needs(.auditExport)) { request, _, _ in
      let selection = try LocalAPI.selection(request)
      let from = UInt64(try LocalAPI.number(request, "from", 0...Int.max) ?? 0)
      let size = log.head().size
      guard from <= size else {
        throw APIFailure.badRequest("the log has \(size) entries, and this export would begin at \(from)")
      }
      return .streaming(
        200,
        headers: [
          "Content-Type": "application/jsonl", "Content-Disposition": "attachment; filename=\"skerry-audit.jsonl\"",
        ]
      ) { writer in
        try await log.export(selection, from: from) { try await writer.write($0) }
      }
    }
  }

  private static func number(
    _ request: HTTPRequest, _ name: String, _ range: ClosedRange<Int>
  ) throws(APIFailure) -> Int? {
    guard let text = request.query(name) else { return nil }
    guard let number = Int(text), range.contains(number) else {
      throw .badRequest("\"\(name)\" must be a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  private static func selection(_ request: HTTPRequest) throws(APIFailure) -> AuditSelection {
    AuditSelection(
      since: try number(request, "since", 0...Int.max).map { Int64($0) },
      until: try number(request, "until", 0...Int.max).map { Int64($0) },
      subject: request.query("subject"), model: request.query("model"), outcome: request.query("outcome"),
      kind: request.query("kind"))
  }
}
