internal import CCurl
import Synchronization

/// One transfer, between the client's thread and the task that waits for it.
final class Transfer: Sendable {
  private struct State {
    var status = 0
    var headers = HTTPHeaders()
    var headDone = false
    var headWaiter: CheckedContinuation<(Int, HTTPHeaders), any Error>?
    var pieces: [[UInt8]] = []
    var size = 0
    var total = 0
    var paused = false
    var finished = false
    var failure: HTTPClientError?
    var waiter: CheckedContinuation<[UInt8]?, any Error>?
    // Upload.
    var upload: [UInt8] = []
    var uploadEnded = false
    var uploadPaused = false
    var tooLarge = false
  }

  /// Bytes that wait for the consumer before the connection is no longer read from.
  static let capacity = 256 * 1024

  let id: UInt64
  let request: ClientRequest
  private let state = Mutex(State())
  private let enqueue: @Sendable (CurlThread.Command) -> Void

  init(id: UInt64, request: ClientRequest, enqueue: @escaping @Sendable (CurlThread.Command) -> Void) {
    self.id = id
    self.request = request
    self.enqueue = enqueue
    if case .bytes(let bytes) = request.body {
      state.withLock {
        $0.upload = bytes
        $0.uploadEnded = true
      }
    }
  }

  // MARK: The waiting task

  func head() async throws -> (Int, HTTPHeaders) {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<(Int, HTTPHeaders), any Error>) in
        let ready = state.withLock { state -> Result<(Int, HTTPHeaders), any Error>? in
          if state.headDone { return .success((state.status, state.headers)) }
          if let failure = state.failure { return .failure(failure) }
          state.headWaiter = continuation
          return nil
        }
        if let ready { continuation.resume(with: ready) }
      }
    } onCancel: {
      cancel()
    }
  }

  func nextPiece() async throws -> [UInt8]? {
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<[UInt8]?, any Error>) in
        let (ready, resume) = state.withLock { state -> (Result<[UInt8]?, any Error>?, Bool) in
          if !state.pieces.isEmpty {
            // What has come is handed over in one piece.
            let all = state.pieces.count == 1 ? state.pieces[0] : state.pieces.reduce(into: []) { $0 += $1 }
            state.pieces.removeAll(keepingCapacity: true)
            state.size = 0
            defer { state.paused = false }
            return (.success(all), state.paused)
          }
          if let failure = state.failure { return (.failure(failure), false) }
          if state.finished { return (.success(nil), false) }
          state.waiter = continuation
          return (nil, false)
        }
        if resume { enqueue(.unpause(id)) }
        if let ready { continuation.resume(with: ready) }
      }
    } onCancel: {
      cancel()
    }
  }

  func cancel() { enqueue(.cancel(id)) }

  /// Hands a piece of the request's body over; nil ends it.
  func offerUpload(_ piece: [UInt8]?) {
    let paused = state.withLock { state -> Bool in
      if let piece { state.upload += piece } else { state.uploadEnded = true }
      defer { state.uploadPaused = false }
      return state.uploadPaused
    }
    if paused { enqueue(.unpause(id)) }
  }

  var uploadBacklog: Int { state.withLock { $0.finished ? 0 : $0.upload.count } }
  var isFinished: Bool { state.withLock(\.finished) }

  // MARK: The client's thread

  func take(_ bytes: UnsafeRawBufferPointer) -> Int {
    enum Now { case taken, pause, tooLarge }
    let (now, waiter) = state.withLock { state -> (Now, CheckedContinuation<[UInt8]?, any Error>?) in
      guard state.total + bytes.count <= request.maxResponseBytes else {
        state.tooLarge = true
        return (.tooLarge, nil)
      }
      if state.size >= Self.capacity {
        state.paused = true
        return (.pause, nil)
      }
      state.total += bytes.count
      if let waiter = state.waiter {
        state.waiter = nil
        return (.taken, waiter)
      }
      state.pieces.append(Array(bytes))
      state.size += bytes.count
      return (.taken, nil)
    }
    waiter?.resume(returning: Array(bytes))
    return switch now {
    case .taken: bytes.count
    case .pause: Int(CURL_WRITEFUNC_PAUSE)
    case .tooLarge: 0
    }
  }

  /// One header line, or the status line that begins a head.
  func takeHeader(_ line: String) {
    let waiter = state.withLock { state -> (CheckedContinuation<(Int, HTTPHeaders), any Error>, Int, HTTPHeaders)? in
      if line.hasPrefix("HTTP/") {
        let words = line.split(separator: " ")
        state.status = words.count > 1 ? Int(words[1]) ?? 0 : 0
        state.headers = HTTPHeaders()
      } else if line.isEmpty {
        // 1xx heads are followed by the real one.
        guard state.status >= 200 else { return nil }
        state.headDone = true
        if let waiter = state.headWaiter {
          state.headWaiter = nil
          return (waiter, state.status, state.headers)
        }
      } else if let colon = line.firstIndex(of: ":") {
        let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
        state.headers.add(String(line[..<colon]), String(value))
      }
      return nil
    }
    waiter?.0.resume(returning: (waiter?.1 ?? 0, waiter?.2 ?? HTTPHeaders()))
  }

  func give(_ target: UnsafeMutableRawBufferPointer) -> Int {
    state.withLock { state in
      if state.upload.isEmpty {
        if state.uploadEnded { return 0 }
        state.uploadPaused = true
        return Int(CURL_READFUNC_PAUSE)
      }
      let count = min(target.count, state.upload.count)
      state.upload.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      state.upload.removeFirst(count)
      return count
    }
  }

  func finish(_ failure: HTTPClientError?) {
    let (head, waiter, error) = state.withLock {
      state -> (
        CheckedContinuation<(Int, HTTPHeaders), any Error>?, CheckedContinuation<[UInt8]?, any Error>?,
        HTTPClientError?
      ) in
      guard !state.finished else { return (nil, nil, nil) }
      state.finished = true
      var failure = failure
      if state.tooLarge {
        let limit = request.maxResponseBytes
        failure = HTTPClientError(
          kind: .tooLarge, curlCode: failure?.curlCode ?? 0, message: "the response is larger than \(limit) bytes")
      }
      state.failure = failure
      defer {
        state.headWaiter = nil
        state.waiter = nil
      }
      return (state.headWaiter, state.waiter, failure)
    }
    let cut = HTTPClientError(kind: .cut, curlCode: 0, message: "the server ended the connection without an answer")
    head?.resume(throwing: error ?? cut)
    if let error { waiter?.resume(throwing: error) } else { waiter?.resume(returning: nil) }
  }
}
