import Trust
import Web

extension LocalAPI {
  func addAudit(to router: inout Router) {
    router.on("GET", "/skerry/v1/audit") { request, _ in
      _ = try await caller(request, may: .auditRead)
      let from = try LocalAPI.number(request, "from", 0...Int.max) ?? 0
      let limit = try LocalAPI.number(request, "limit", 1...10_000) ?? 100
      let entries = try log.entries(from: UInt64(from), limit: limit)
      return .json(
        200, ["entries": .array(entries), "size": .integer(Int64(clamping: log.head().size))])
    }
    router.on("GET", "/skerry/v1/audit/head") { request, _ in
      _ = try await caller(request, may: .auditRead)
      return .text(200, log.signedHead().encoded)
    }
    router.on("GET", "/skerry/v1/audit/export") { request, _ in
      _ = try await caller(request, may: .auditExport)
      return .streaming(
        200,
        headers: [
          "Content-Type": "application/jsonl", "Content-Disposition": "attachment; filename=\"skerry-audit.jsonl\"",
        ]
      ) { writer in
        try await log.export { try await writer.write($0) }
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
}
