import Fleet
import Host
import Models
import Trust
import Web

/// The repository as any static web server would offer it, with ranges (RFC 9110 §14.2). Only names of the
/// repository's own forms become paths.
struct RepositoryRoutes: Sendable {
  let files: RepositoryFiles

  func add(to router: inout Router) {
    addTargets(to: &router)
    router.on(
      "GET", "/repo/metadata/{file}",
      handler: Answers.wrap { request, parameters in
        let name = parameters["file"]
        guard RepositoryFiles.metadataLimit(name) != nil else { throw Self.missing(request) }
        return try Self.file(
          request, "\(files.directory)/metadata/\(name)", "application/json", isFixed: name != "timestamp.json")
      })
    router.on(
      "GET", "/repo/indexes/{file}",
      handler: Answers.wrap { request, parameters in
        let name = parameters["file"]
        guard name.hasSuffix(".caibx"), let digest = Digest(hex: name.dropLast(6)) else { throw Self.missing(request) }
        return try Self.file(request, files.indexPath(digest), "application/octet-stream", isFixed: true)
      })
    router.on(
      "GET", "/repo/signatures/{file}",
      handler: Answers.wrap { request, parameters in
        guard let digest = RepositoryRoutes.signature(parameters["file"]) else { throw Self.missing(request) }
        return try Self.file(request, files.signaturePath(digest), "application/json", isFixed: true)
      })
    router.on(
      "GET", "/repo/chunks/{folder}/{file}",
      handler: Answers.wrap { request, parameters in
        let name = parameters["file"]
        guard name.hasSuffix(".cacnk"), let id = Digest(hex: name.dropLast(6)),
          parameters["folder"] == String(id.hex.prefix(4))
        else { throw Self.missing(request) }
        return try Self.file(request, files.chunkPath(id), "application/octet-stream", isFixed: true)
      })
  }

  /// Targets as whole files, for those that have no chunk index (TUF, consistent snapshots: `DIGEST.NAME`).
  private func addTargets(to router: inout Router) {
    router.on(
      "GET", "/repo/targets/{path...}",
      handler: Answers.wrap { request, parameters in
        guard let path = files.targetPath(parameters["path"]) else { throw Self.missing(request) }
        return try Self.file(request, path, "application/octet-stream", isFixed: true)
      })
  }

  /// The digest in `SHA256.sigstore.json`.
  static func signature(_ name: String) -> Digest? {
    name.hasSuffix(".sigstore.json") ? Digest(hex: name.dropLast(".sigstore.json".count)) : nil
  }

  private static func missing(_ request: HTTPRequest) -> HubError {
    HubError(.notFound, "the repository has no \(request.path)")
  }

  /// Answers with a file, or with the part that a Range header asks for.
  static func file(_ request: HTTPRequest, _ path: String, _ type: String, isFixed: Bool) throws -> HTTPResponse {
    guard let size = RepositoryFiles.size(path) else { throw Self.missing(request) }
    // The name holds a digest, so that it is the strongest tag that there can be (RFC 9110 §8.8.3).
    let tag = isFixed ? "\"\(path.split(separator: "/").last ?? "")\"" : nil
    // Part of another file would be of no use: then the whole is sent (§13.1.5).
    let isSame = request.headers["if-range"].map { $0 == tag } ?? true
    let range: ByteRange?
    switch ByteRange.parse(isSame ? request.headers["range"] : nil, size: size) {
    case .whole: range = nil
    case .part(let part): range = part
    case .unsatisfiable:
      var response = HTTPResponse.empty(416)
      response.headers["Content-Range"] = "bytes */\(size)"
      return response
    }
    var response = HTTPResponse(
      status: range == nil ? 200 : 206, headers: HTTPHeaders(),
      body: .file(path: path, offset: range?.start ?? 0, length: range?.count ?? size))
    response.headers["Content-Type"] = type
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = isFixed ? "public, max-age=31536000, immutable" : "no-cache"
    if let range {
      response.headers["Content-Range"] = "bytes \(range.start)-\(range.start + range.count - 1)/\(size)"
    }
    return response
  }
}

/// One range of a Range header. Several ranges at once are answered with the whole file, as RFC 9110 allows.
struct ByteRange: Hashable {
  let start: UInt64
  let count: UInt64

  enum Request: Hashable {
    case whole
    case part(ByteRange)
    case unsatisfiable
  }

  static func parse(_ header: String?, size: UInt64) -> Request {
    guard let header, header.hasPrefix("bytes=") else { return .whole }
    let parts = header.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2 else { return .whole }
    let isNumber = parts.allSatisfy { $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }
    guard isNumber else { return .whole }
    if parts[0].isEmpty {
      guard let last = UInt64(parts[1]) else { return .whole }
      guard last > 0, size > 0 else { return .unsatisfiable }
      let count = min(last, size)
      return .part(ByteRange(start: size - count, count: count))
    }
    guard let start = UInt64(parts[0]) else { return .whole }
    let end: UInt64
    if parts[1].isEmpty {
      end = .max
    } else {
      guard let given = UInt64(parts[1]), given >= start else { return .whole }
      end = given
    }
    guard start < size else { return .unsatisfiable }
    return .part(ByteRange(start: start, count: min(end, size - 1) - start + 1))
  }
}
