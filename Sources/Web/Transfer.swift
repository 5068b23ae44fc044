internal import CCurl
import Synchronization

/// One request and its answer, between the client's thread and the task that waits.
///
/// The easy handle and all that it points at belong to the client's thread; the rest is behind a lock. A continuation is
/// taken out under the lock and resumed after it, once.
final class Transfer: @unchecked Sendable {
  struct Head: Sendable {
    let status: Int
    let headers: HTTPHeaders
  }

  private struct State {
    var head: Head?
    var result: Result<Void, HTTPClientError>?
    var pieces: [[UInt8]] = []
    /// The first piece that nobody has taken yet.
    var first = 0
    /// Bytes in `pieces` that nobody has taken yet.
    var held = 0
    var isPaused = false
    var headWaiter: CheckedContinuation<Head, any Error>?
    var bodyWaiter: CheckedContinuation<[UInt8]?, any Error>?
    var isCancelled = false
  }

  /// Bytes held for a reader that does not keep up, before the peer is made to wait.
  static let high = 256 * 1024
  static let low = 64 * 1024

  let request: ClientRequest
  let collects: Bool
  let limit: Int
  private let loop: TransferLoop
  private let state = Mutex(State())
  let upload: Upload?

  // The client's thread alone.
  private(set) var easy: UnsafeMutableRawPointer?
  private var fields: UnsafeMutablePointer<curl_slist>?
  private let detail = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
  private var incoming = HTTPHeaders()
  private var status = 0
  private var received = 0
  private var lastByte: ContinuousClock.Instant?
  /// A peer from whom something came within this time is there.
  private static let alive: Duration = .seconds(10)
  private var failure: HTTPClientError?

  init(_ request: ClientRequest, collects: Bool, loop: TransferLoop) {
    self.request = request
    self.collects = collects
    limit = request.maxResponseBytes
    self.loop = loop
    detail.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    if case .stream(let next) = request.body { upload = Upload(next: next) } else { upload = nil }
  }

  deinit { detail.deallocate() }

  // MARK: The waiting task

  func head() async throws -> Head {
    try await withCheckedThrowingContinuation { continuation in
      let now = state.withLock { state -> Result<Head, any Error>? in
        if let head = state.head { return .success(head) }
        switch state.result {
        case .failure(let error): return .failure(error)
        case .success: return .failure(HTTPClientError.headless)
        case nil:
          state.headWaiter = continuation
          return nil
        }
      }
      if let now { continuation.resume(with: now) }
    }
  }

  /// The next piece of the body; nil at its end.
  func nextPiece() async throws -> [UInt8]? {
    try await withTaskCancellationHandler {
      try await waitForPiece()
    } onCancel: {
      cancel()
    }
  }

  /// The whole body, for a transfer that collects.
  func whole() async throws -> [UInt8] { try await waitForPiece() ?? [] }

  private func waitForPiece() async throws -> [UInt8]? {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<[UInt8]?, any Error>) in
      let (now, unpause) = state.withLock { state -> (Result<[UInt8]?, any Error>?, Bool) in
        if let now = take(&state) {
          let unpause = state.isPaused && state.held <= Self.low
          if unpause { state.isPaused = false }
          return (now, unpause)
        }
        state.bodyWaiter = continuation
        return (nil, false)
      }
      if unpause { loop.enqueue(.unpause(self)) }
      if let now { continuation.resume(with: now) }
    }
  }

  /// What a reader would get at once; nil when it must wait.
  private func take(_ state: inout State) -> Result<[UInt8]?, any Error>? {
    if case .failure(let error) = state.result { return .failure(error) }
    if state.first < state.pieces.count, !collects || state.result != nil {
      let piece = state.pieces[state.first]
      state.pieces[state.first] = []
      state.first += 1
      if state.first == state.pieces.count { (state.pieces, state.first) = ([], 0) }
      state.held -= piece.count
      return .success(piece)
    }
    return state.result == nil ? nil : .success(nil)
  }

  /// Ends the transfer from outside; waiters get `.cancelled`. Does nothing to one that is over.
  func cancel() {
    let first = state.withLock { state -> Bool in
      defer { state.isCancelled = true }
      return !state.isCancelled && state.result == nil
    }
    guard first else { return }
    finish(.cancelled)
    loop.enqueue(.remove(self))
  }

  /// Sets the result, unless there is one, and lets the waiters go.
  func finish(_ error: HTTPClientError?) {
    let (head, body, now) = state.withLock { state in
      if state.result == nil { state.result = error.map { .failure($0) } ?? .success(()) }
      defer { (state.headWaiter, state.bodyWaiter) = (nil, nil) }
      return (state.headWaiter, state.bodyWaiter, state.bodyWaiter == nil ? nil : take(&state))
    }
    let failure = error ?? .headless
    head?.resume(throwing: failure)
    if let body { body.resume(with: now ?? .success(nil)) }
    upload?.close()
  }

  // MARK: The client's thread

  /// The easy handle, ready to be added; nil when the transfer is over already.
  func begin() -> UnsafeMutableRawPointer? {
    guard !state.withLock({ $0.isCancelled || $0.result != nil }) else { return nil }
    guard let easy = curl_easy_init() else {
      finish(HTTPClientError(code: CURLE_OUT_OF_MEMORY, detail: ""))
      return nil
    }
    self.easy = easy
    let context = Unmanaged.passUnretained(self).toOpaque()
    fields = configure(easy, request, detail: detail, context: context)
    upload?.start(
      fail: { [weak self] error in self?.uploadFailed(error) },
      unpause: { [weak self] in
        if let self { loop.enqueue(.unpause(self)) }
      })
    return easy
  }

  private func uploadFailed(_ error: any Error) {
    let known = error as? HTTPClientError
    finish(known ?? HTTPClientError(kind: .other, message: "the request's body broke off: \(error)"))
    loop.enqueue(.remove(self))
  }

  /// libcurl is done with the transfer (`nil`: it was taken away).
  func ended(_ code: CURLcode?) {
    let text = String(
      decoding: UnsafeRawBufferPointer(start: detail, count: Int(CURL_ERROR_SIZE)).prefix { $0 != 0 }, as: UTF8.self)
    if let easy { curl_easy_cleanup(easy) }
    if let fields { curl_slist_free_all(fields) }
    (easy, fields) = (nil, nil)
    switch code {
    case nil: finish(.cancelled)
    case CURLE_OK: finish(nil)
    case CURLE_FILESIZE_EXCEEDED?: finish(.tooLarge(limit))
    case .some(let code):
      var error = failure ?? HTTPClientError(code: code, detail: text)
      if error.kind == .timeout, let lastByte { error.isTrickle = ContinuousClock.now - lastByte < Self.alive }
      finish(error)
    }
  }

  /// One header line. Interim answers (1xx) are forgotten; trailers after the body too.
  func headerLine(_ bytes: UnsafeRawBufferPointer) {
    lastByte = .now
    var line = bytes[...]
    while let last = line.last, last == 0x0A || last == 0x0D { line = line.dropLast() }
    if line.isEmpty {
      guard status >= 200 else { return }
      let head = Head(status: status, headers: incoming)
      let waiter = state.withLock { state -> CheckedContinuation<Head, any Error>? in
        guard state.head == nil else { return nil }
        state.head = head
        defer { state.headWaiter = nil }
        return state.headWaiter
      }
      waiter?.resume(returning: head)
      return
    }
    if line.starts(with: "HTTP/".utf8) {
      incoming = HTTPHeaders()
      let code = line.split(separator: 0x20, maxSplits: 2).dropFirst().first
      status = code.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
      return
    }
    guard let colon = line.firstIndex(of: 0x3A) else { return }
    let value = line[line.index(after: colon)...].drop { $0 == 0x20 || $0 == 0x09 }
    incoming.add(
      String(decoding: line[..<colon], as: UTF8.self),
      String(decoding: value.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed(), as: UTF8.self))
  }

  /// A piece of the body: returns what libcurl's write callback returns.
  func bodyPiece(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard bytes.count <= limit - received else {
      failure = .tooLarge(limit)
      return 0
    }
    // Before the pace is asked, which would count the piece twice.
    let mustWait = state.withLock { state in
      let waits = !collects && state.result == nil && state.bodyWaiter == nil && state.held >= Self.high
      if waits { state.isPaused = true }
      return waits
    }
    if mustWait { return Int(CURL_WRITEFUNC_PAUSE) }
    if let wait = request.pace?.take(bytes.count) {
      loop.hold(self, for: wait)
      return Int(CURL_WRITEFUNC_PAUSE)
    }
    enum Step {
      case taken, gone
      case hand(CheckedContinuation<[UInt8]?, any Error>)
    }
    let step = state.withLock { state -> Step in
      if state.result != nil { return .gone }
      if collects {
        if state.pieces.isEmpty {
          state.pieces.append([])
          // One that grows in steps takes twice its length.
          let announced = incoming["Content-Length"].flatMap { Int($0) } ?? 0
          state.pieces[0].reserveCapacity(min(announced, limit))
        }
        state.pieces[0] += bytes
        return .taken
      }
      if let waiter = state.bodyWaiter {
        state.bodyWaiter = nil
        return .hand(waiter)
      }
      state.pieces.append(Array(bytes))
      state.held += bytes.count
      return .taken
    }
    switch step {
    case .gone: return 0
    case .hand(let waiter): waiter.resume(returning: Array(bytes))
    case .taken: break
    }
    received += bytes.count
    lastByte = .now
    return bytes.count
  }
}
