import Synchronization

/// An HTTP/1.1 client over libcurl: connections are reused, one thread performs all transfers.
public final class HTTPClient: Sendable {
  private let thread = CurlThread()
  private let next = Atomic<UInt64>(1)

  public init() {}

  deinit { thread.send(.end) }

  /// Sends the request and collects the whole answer. Throws `HTTPClientError`.
  public func send(_ request: ClientRequest) async throws -> ClientResponse {
    let stream = try await self.stream(request)
    let body = try await stream.collect(upTo: request.maxResponseBytes)
    return ClientResponse(status: stream.status, headers: stream.headers, body: body)
  }

  /// Sends the request and returns when the answer's head is there. Throws `HTTPClientError`.
  public func stream(_ request: ClientRequest) async throws -> ClientStream {
    let id = next.wrappingAdd(1, ordering: .relaxed).oldValue
    let thread = thread
    let transfer = Transfer(id: id, request: request, enqueue: { thread.send($0) })
    thread.send(.add(transfer))
    let feeder = feed(transfer)
    defer { if transfer.isFinished { feeder?.cancel() } }
    do {
      let (status, headers) = try await transfer.head()
      return ClientStream(status: status, headers: headers, transfer: transfer)
    } catch {
      feeder?.cancel()
      if Task.isCancelled { throw CancellationError() }
      throw error
    }
  }

  /// Ends what is under way; the client can't be used any more.
  public func close() async { await thread.end() }

  private func feed(_ transfer: Transfer) -> Task<Void, Never>? {
    guard case .stream(let produce) = transfer.request.body else { return nil }
    return Task {
      do {
        while let piece = try await produce() {
          transfer.offerUpload(piece)
          while transfer.uploadBacklog > Transfer.capacity { try await Task.sleep(for: .milliseconds(2)) }
          if transfer.isFinished { return }
        }
        transfer.offerUpload(nil)
      } catch {
        transfer.cancel()
      }
    }
  }
}
