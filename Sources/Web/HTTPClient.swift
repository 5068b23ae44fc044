/// An HTTP/1.1 client over libcurl. One thread of its own moves all transfers; connections are kept and used again.
/// Follows no redirects.
public final class HTTPClient: Sendable {
  private let loop: TransferLoop

  public init() { loop = TransferLoop() }

  deinit { loop.stop() }

  /// The whole answer, whatever its status. Throws `HTTPClientError`.
  public func send(_ request: ClientRequest) async throws -> ClientResponse {
    let transfer = Transfer(request, collects: true, loop: loop)
    return try await withTaskCancellationHandler {
      loop.add(transfer)
      defer { transfer.cancel() }
      let body = try await transfer.whole()
      let head = try await transfer.head()
      return ClientResponse(status: head.status, headers: head.headers, body: body)
    } onCancel: {
      transfer.cancel()
    }
  }

  /// The answer as soon as its head is here, its body to follow. Throws `HTTPClientError`.
  public func stream(_ request: ClientRequest) async throws -> ClientStream {
    let transfer = Transfer(request, collects: false, loop: loop)
    let hold = TransferHold(transfer, client: self)
    return try await withTaskCancellationHandler {
      loop.add(transfer)
      let head = try await transfer.head()
      return ClientStream(status: head.status, headers: head.headers, hold: hold)
    } onCancel: {
      transfer.cancel()
    }
  }

  /// Ends all transfers and connections, and returns when the thread has ended. Requests after that fail.
  public func close() async {
    await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
      loop.stop { continuation.resume() }
    }
  }
}
