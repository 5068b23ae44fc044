import CommandLine
import Storage
import Synchronization
import Trust
import Web

/// A bucket of S3 or of a store that speaks like it, addressed by path: `https://ENDPOINT/BUCKET/PREFIX`.
///
/// A PUT there is seen whole or not at all, and a reader after it sees it (Amazon S3's consistency model).
struct S3Place: RepoPlace {
  private let endpoint: String
  private let bucket: String
  /// With a slash at its end, or empty.
  private let prefix: String
  private let credentials: AWSCredentials
  private let client = HTTPClient()

  var name: String { "\(endpoint)/\(bucket)/\(prefix)" }

  /// The credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
  /// AWS_REGION or AWS_DEFAULT_REGION.
  init(_ url: String, _ invocation: Invocation) throws {
    let path = invocation.command.path
    guard let scheme = ["https://", "http://"].first(where: { url.hasPrefix($0) }) else {
      throw UsageError(path: path, "--s3 takes https://ENDPOINT/BUCKET/PREFIX, not “\(url)”")
    }
    let parts = url.dropFirst(scheme.count).split(separator: "/").map(String.init)
    guard parts.count >= 2, parts.allSatisfy({ S3Place.isPlain($0) }) else {
      throw UsageError(
        path: path, "--s3 takes https://ENDPOINT/BUCKET/PREFIX, not “\(url)”",
        hint: "bucket and prefix of letters, digits, “-”, “_” and “.”")
    }
    func needed(_ name: String) throws -> String {
      guard let value = invocation.environment(name) else {
        throw UsageError(path: path, "\(name) is not set", hint: "S3's credentials come from the environment")
      }
      return value
    }
    endpoint = scheme + parts[0]
    bucket = parts[1]
    prefix = parts.dropFirst(2).map { $0 + "/" }.joined()
    credentials = AWSCredentials(
      accessKey: try needed("AWS_ACCESS_KEY_ID"), secretKey: try needed("AWS_SECRET_ACCESS_KEY"),
      sessionToken: invocation.environment("AWS_SESSION_TOKEN"),
      region: invocation.environment("AWS_REGION") ?? invocation.environment("AWS_DEFAULT_REGION") ?? "us-east-1")
  }

  private static func isPlain(_ text: String) -> Bool {
    text.utf8.allSatisfy {
      (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
        || [0x2D, 0x2E, 0x5F, 0x3A, 0x5B, 0x5D].contains($0)
    }
  }

  func read(_ name: String, limit: Int) async throws -> [UInt8]? {
    let answer = try await send("GET", "/\(bucket)/\(prefix)\(name)", limit: max(limit, 1 << 16))
    if answer.status == 404, S3Answer(answer.body).code != "NoSuchBucket" { return nil }
    try demandDone(answer, name)
    guard answer.body.count <= limit else { throw TUFError.tooLarge(file: name, limit: limit) }
    return answer.body
  }

  func missing(_ objects: [RepoObject]) async throws -> [RepoObject] {
    var sizes: [String: UInt64] = [:]
    for folder in Set(objects.compactMap { $0.name.split(separator: "/").first.map(String.init) }) {
      try await list(folder + "/", into: &sizes)
    }
    return objects.filter { sizes[$0.name] != $0.size }
  }

  func write(_ name: String, _ bytes: [UInt8]) async throws {
    var headers = HTTPHeaders()
    headers["Content-Type"] = name.hasSuffix(".json") ? "application/json" : "application/octet-stream"
    headers["Cache-Control"] = name.hasSuffix("timestamp.json") ? "no-cache" : "public, max-age=31536000, immutable"
    try demandDone(try await send("PUT", "/\(bucket)/\(prefix)\(name)", headers, bytes), name)
  }

  /// What S3 takes in one request, in bytes.
  private static let longest: UInt64 = 5 << 30

  func copy(_ name: String, from path: String, sha256: Digest) async throws {
    let file = try InputFile(path)
    guard file.size <= S3Place.longest else {
      throw CommandFailure(
        "\(path) is larger than the 5 GiB that an object store takes at once",
        hint: "publish it in chunks: repo add without --no-chunks", status: .data)
    }
    let done = Mutex<UInt64>(0)
    var request = ClientRequest(
      method: "PUT", url: "\(endpoint)/\(bucket)/\(prefix)\(URLPath.encoded(name))",
      body: .stream {
        let at = done.withLock { $0 }
        guard at < file.size else { return nil }
        let piece = try file.read(at, Int(min(1 << 20, file.size - at)))
        done.withLock { $0 += UInt64(piece.count) }
        return piece
      })
    request.headers["Content-Type"] = "application/octet-stream"
    request.headers["Content-Length"] = "\(file.size)"
    request.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    // The store refuses what does not have it.
    request.headers["X-Amz-Content-Sha256"] = sha256.hex
    if let token = credentials.sessionToken { request.headers["X-Amz-Security-Token"] = token }
    request.aws = credentials
    do {
      try demandDone(try await client.send(request), name)
    } catch let error as HTTPClientError {
      throw CommandFailure("\(endpoint): \(error.message)", status: .hubUnavailable)
    }
  }

  func close() async { await client.close() }

  /// ListObjectsV2, page after page.
  private func list(_ folder: String, into sizes: inout [String: UInt64]) async throws {
    var token: String?
    repeat {
      var query: [(String, String)] = [("list-type", "2"), ("prefix", prefix + folder)]
      if let token { query.insert(("continuation-token", token), at: 0) }
      let text = query.map { "\(percentEncoded($0.0))=\(percentEncoded($0.1))" }.joined(separator: "&")
      let answer = try await send("GET", "/\(bucket)?\(text)")
      try demandDone(answer, folder)
      let page = S3Answer(answer.body)
      for (key, size) in page.objects where key.hasPrefix(prefix) { sizes[String(key.dropFirst(prefix.count))] = size }
      token = page.nextToken
    } while token != nil
  }

  /// One request; what may pass by itself is tried again three times.
  private func send(
    _ method: String, _ path: String, _ headers: HTTPHeaders = HTTPHeaders(), _ body: [UInt8]? = nil,
    limit: Int = 16 << 20
  ) async throws -> ClientResponse {
    var request = ClientRequest(method: method, url: endpoint + path, headers: headers, body: body)
    request.headers["X-Amz-Content-Sha256"] = Digest(of: body ?? []).hex
    if let token = credentials.sessionToken { request.headers["X-Amz-Security-Token"] = token }
    request.aws = credentials
    request.maxResponseBytes = limit
    var wait = Duration.milliseconds(200)
    var tries = 0
    while true {
      tries += 1
      do {
        let answer = try await client.send(request)
        guard [429, 500, 502, 503, 504].contains(answer.status), tries < 4 else { return answer }
      } catch let error as HTTPClientError {
        guard tries < 4, error.kind == .cut || error.kind == .timeout else {
          throw CommandFailure("\(endpoint): \(error.message)", status: .hubUnavailable)
        }
      }
      try await Task.sleep(for: wait)
      wait *= 3
    }
  }

  private func demandDone(_ answer: ClientResponse, _ name: String) throws {
    guard !(200..<300).contains(answer.status) else { return }
    let said = S3Answer(answer.body)
    let text =
      "\(endpoint)/\(bucket): \(name): \(said.code ?? "status \(answer.status)")\(said.message.map { " (\($0))" } ?? "")"
    switch answer.status {
    case 401, 403:
      throw CommandFailure(
        text, hint: "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and what this key may do",
        status: .denied)
    case 404: throw CommandFailure(text, hint: "make the bucket first", status: .noInput)
    case 429, 500...: throw CommandFailure(text, status: .tryLater)
    default: throw CommandFailure(text, status: .data)
    }
  }
}

/// What is needed of S3's XML answers.
struct S3Answer {
  private let text: String

  init(_ bytes: [UInt8]) { text = String(decoding: bytes, as: UTF8.self) }

  var code: String? { value("Code", in: text[...]) }
  var message: String? { value("Message", in: text[...]) }
  var nextToken: String? { value("NextContinuationToken", in: text[...]) }

  var objects: [(key: String, size: UInt64)] {
    var found: [(key: String, size: UInt64)] = []
    var rest = text[...]
    while let start = rest.firstRange(of: "<Contents>"),
      let end = rest[start.upperBound...].firstRange(of: "</Contents>")
    {
      let entry = rest[start.upperBound..<end.lowerBound]
      if let key = value("Key", in: entry), let size = value("Size", in: entry).flatMap({ UInt64($0) }) {
        found.append((key, size))
      }
      rest = rest[end.upperBound...]
    }
    return found
  }

  private func value(_ name: String, in text: Substring) -> String? {
    guard let start = text.firstRange(of: "<\(name)>"), let end = text[start.upperBound...].firstRange(of: "</\(name)>")
    else { return nil }
    return S3Answer.unescaped(text[start.upperBound..<end.lowerBound])
  }

  private static func unescaped(_ text: Substring) -> String {
    var text = String(text)
    for (escape, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")] {
      text = text.replacing(escape, with: character)
    }
    return text
  }
}
