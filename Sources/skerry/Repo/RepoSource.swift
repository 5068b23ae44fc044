import CommandLine
import Storage
import Trust
import Web

/// A repository to read: a folder, or an address that serves one.
struct RepoSource: Sendable {
  /// Set when it is a folder.
  let folder: RepoFolder?
  private let address: String
  private let pin: String?
  private let client: HTTPClient?

  init(_ place: String, pin: String? = nil) throws {
    let isAddress = place.hasPrefix("https://") || place.hasPrefix("http://")
    address = place.hasSuffix("/") ? String(place.dropLast()) : place
    folder = isAddress ? nil : RepoFolder(path: place)
    client = isAddress ? HTTPClient() : nil
    self.pin = pin
    if !isAddress, !DurableFile.exists(place) {
      throw CommandFailure("there is no repository at \(place)", status: .noInput)
    }
  }

  /// A file by its name below the repository; nil when there is none. More than `limit` bytes is an error.
  func read(_ name: String, limit: Int) async throws -> [UInt8]? {
    guard let client else {
      let path = "\(address)/\(name)"
      // Looked at before it is read, so that the error is the workflow's own.
      if let size = DurableFile.size(path), size > UInt64(limit) { throw tooLarge(name, limit) }
      return try DurableFile.read(path, limit: limit)
    }
    var request = ClientRequest(method: "GET", url: "\(address)/\(name)")
    request.pin = pin
    // An error page may be longer than the file.
    request.maxResponseBytes = max(limit, 1 << 16)
    let response: ClientResponse
    do {
      response = try await client.send(request)
    } catch let error as HTTPClientError {
      if error.kind == .tooLarge { throw tooLarge(name, limit) }
      throw CommandFailure("\(address)/\(name): \(error.message)", status: .hubUnavailable)
    }
    switch response.status {
    case 200:
      guard response.body.count <= limit else { throw tooLarge(name, limit) }
      return response.body
    case 404: return nil
    default:
      throw CommandFailure("\(address)/\(name) answered \(response.status)", status: .hubUnavailable)
    }
  }

  /// A large file, piece by piece; false when there is none.
  func stream(_ name: String, each: ([UInt8]) async throws -> Void) async throws -> Bool {
    guard let client else {
      let path = "\(address)/\(name)"
      guard DurableFile.exists(path) else { return false }
      let file = try InputFile(path)
      var at: UInt64 = 0
      while at < file.size {
        let piece = try file.read(at, Int(min(1 << 20, file.size - at)))
        if piece.isEmpty { break }
        at += UInt64(piece.count)
        try await each(piece)
      }
      return true
    }
    var request = ClientRequest(method: "GET", url: "\(address)/\(URLPath.encoded(name))")
    request.pin = pin
    request.maxResponseBytes = .max / 2
    do {
      let answer = try await client.stream(request)
      if answer.status == 404 { return false }
      guard answer.status == 200 else {
        throw CommandFailure("\(address)/\(name) answered \(answer.status)", status: .hubUnavailable)
      }
      for try await piece in answer { try await each(piece) }
      return true
    } catch let error as HTTPClientError {
      throw CommandFailure("\(address)/\(name): \(error.message)", status: .hubUnavailable)
    }
  }

  private func tooLarge(_ name: String, _ limit: Int) -> TUFError {
    .tooLarge(file: name.split(separator: "/").last.map(String.init) ?? name, limit: limit)
  }

  func close() async { await client?.close() }
}
