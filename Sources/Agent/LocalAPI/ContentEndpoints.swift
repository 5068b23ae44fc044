import Trust
import Web

extension LocalAPI {
  /// What roles asked to keep of prompts and answers: shown, and erased.
  func addContent(to router: inout GovernedRouter) {
    router.on("GET", "/skerry/v1/audit/content/{n}", .needs(.auditContent)) { _, parameters, _ in
      guard let index = UInt64(parameters["n"]) else { throw APIFailure.badRequest("an entry is named by its number") }
      guard let found = try await content.find(index) else {
        throw APIFailure(
          status: 404, code: "no_content",
          message: "the audit log has no entry \(index) of an inference whose content was kept")
      }
      guard found.prompt != nil || found.answer != nil else {
        throw APIFailure(status: 410, code: "erased", message: "the content of entry \(index) was erased")
      }
      return .json(
        200, ["record": found.record, "prompt": found.prompt ?? .null, "answer": found.answer ?? .null])
    }
    router.on("POST", "/skerry/v1/audit/erase", .needs(.auditErase)) { request, _, caller in
      let given = try await members(request, ["before", "record", "subject"])
      func number(_ name: String) throws -> Int64? {
        try given[name] == nil
          ? nil
          : Int64(required(given, name) { field throws(JSONFieldError) in try field.integer(0...Int(Int32.max) << 31) })
      }
      let which: ContentDesk.Which
      switch (try number("before"), try number("record"), given["subject"]) {
      case (let time?, nil, nil): which = .before(time)
      case (nil, let index?, nil): which = .record(UInt64(index))
      case (nil, nil, _?):
        which = .subject(try required(given, "subject") { field throws(JSONFieldError) in try field.string() })
      default:
        throw APIFailure.badRequest(
          "say whose content goes: \"before\" (Unix seconds), \"record\" (a number) or \"subject\"; one of them")
      }
      return .json(200, ["erased": .integer(Int64(try await content.erase(which, by: caller.label)))])
    }
  }
}
