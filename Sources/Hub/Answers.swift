import Fleet
import FoundationEssentials
import Host
import Storage
import Trust
import Web

/// The hub's answers as HTTP: errors are `HubError` in JSON with the status that belongs to their code.
enum Answers {
  static func json(_ status: Int = 200, _ value: some Encodable) throws -> HTTPResponse {
    HTTPResponse.json(status, try JSONValue(encoding: value))
  }

  static func error(_ error: HubError) -> HTTPResponse {
    let encoded = (try? JSONValue(encoding: error)) ?? ["error": ["code": "internal"]]
    var response = HTTPResponse.json(status(of: error.code), encoded)
    switch error.code {
    case .busy: response.headers["Retry-After"] = "5"
    case .unauthorized: response.headers["WWW-Authenticate"] = "Bearer realm=\"Skerry hub\""
    default: break
    }
    return response
  }

  private static func status(of code: HubErrorCode) -> Int {
    switch code {
    case .malformed, .unknown: 400
    case .unauthorized, .badSignature, .unknownDevice: 401
    case .tokenUnknown, .deviceRevoked, .denied: 403
    case .notFound: 404
    case .methodNotAllowed: 405
    case .tokenUsed, .staleSequence, .conflict, .notPublished: 409
    case .tokenExpired: 410
    case .tooLarge: 413
    case .invalidMetadata: 422
    case .busy: 503
    case .internalError: 500
    }
  }

  /// Runs a handler and turns what it throws into an answer. What a peer can't mend is logged and not told.
  static func wrap(
    _ body: @escaping @Sendable (HTTPRequest, PathParameters) async throws -> HTTPResponse
  ) -> @Sendable (HTTPRequest, PathParameters) async throws -> HTTPResponse {
    { request, parameters in
      do {
        return try await body(request, parameters)
      } catch let failure as HubError {
        return error(failure)
      } catch let failure as StorageError {
        Log.shared.error("storage failed", ["path": request.path, "reason": failure.description])
        return error(
          failure.isTransient
            ? HubError(.busy, "the hub can't store anything right now") : HubError(.internalError, "the hub has failed")
        )
      } catch let failure as HTTPFailure {
        if failure.status == 413 { return error(HubError(.tooLarge, failure.message)) }
        throw failure
      } catch is CancellationError {
        throw CancellationError()
      } catch let failure {
        Log.shared.error("request failed", ["path": request.path, "reason": "\(failure)"])
        return error(HubError(.internalError, "the hub has failed"))
      }
    }
  }
}

/// Reading a body as a message; what is wrong with it is said with the key that it is about.
enum Decode {
  static func message<T: Decodable>(_ type: T.Type, from body: [UInt8]) throws -> T {
    let value: JSONValue
    do { value = try JSONValue(parsing: body) } catch {
      throw HubError(.malformed, "the body is no JSON: \(error.description)")
    }
    do {
      return try value.decoded(as: type)
    } catch let error as DecodingError {
      throw HubError(.malformed, describe(error))
    }
  }

  private static func describe(_ error: DecodingError) -> String {
    func path(_ context: DecodingError.Context) -> String {
      let keys = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }
      return keys.isEmpty ? "the body" : keys.joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context):
      return "\((context.codingPath + [key]).map(\.stringValue).joined(separator: ".")) is missing"
    case .typeMismatch(_, let context): return "\(path(context)) has the wrong type"
    case .valueNotFound(_, let context): return "\(path(context)) is null"
    case .dataCorrupted(let context): return "\(path(context)): \(context.debugDescription)"
    @unknown default: return "the body is not what it must be"
    }
  }

  /// A name that people give a box: 1 to 64 characters, none of them a control character.
  static func deviceName(_ text: String) throws -> String {
    let isPlain = text.unicodeScalars.allSatisfy {
      !$0.properties.isDefaultIgnorableCodePoint && $0.value >= 0x20 && $0.value != 0x7F
    }
    guard (1...64).contains(text.count), text.utf8.count <= 256, isPlain else {
      throw HubError(.malformed, "a box's name has 1 to 64 characters and no control characters")
    }
    return text
  }
}
