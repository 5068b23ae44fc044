import Trust

/// What boxes of one site say to each other, beside the chunks themselves.
public enum SiteMessages {
  /// The answer to `POST /site/v1/BOX/session`.
  public struct Session: Codable, Hashable, Sendable {
    /// Signed as `nonce` in each request that follows.
    public var session: String
    public init(session: String) { self.session = session }
  }

  /// `POST /site/v1/BOX/share`: what the sender has of the model with this chunk index. The answer is the receiver's.
  public struct Share: Codable, Hashable, Sendable {
    public enum State: String, Codable, Sendable {
      case none, fetching, whole
    }
    /// SHA-256 of the `.caibx` file.
    public var index: Digest
    public var state: State
    /// While fetching: the chunks that the sender has, one bit each in the index's order, lowest bit first, as base64.
    public var chunks: String?

    public init(index: Digest, state: State, chunks: ChunkSet? = nil) {
      self.index = index
      self.state = state
      self.chunks = chunks.map { Base64.encode($0.bytes) }
    }

    /// What it means for a model of so many chunks; nil when the sender has nothing of it, or its list is not one.
    public func meaning(count: Int) -> SitePlan.Share? {
      switch state {
      case .none: return nil
      case .whole: return .whole
      case .fetching:
        guard let chunks else { return .fetching(ChunkSet(count: count)) }
        return Base64.decode(chunks).flatMap { ChunkSet(bytes: $0, count: count) }.map { .fetching($0) }
      }
    }
  }

  /// How a chunk is asked for: the query of its path.
  public enum Wish: String, Sendable, CaseIterable {
    /// Only if it is there, or on its way from the hub already.
    case held = ""
    /// By whom takes the receiver for the chunk's home: it fetches the chunk when it lacks it, or forwards the request
    /// to the box that is the home as it sees the site.
    case fetched = "fetch"
    /// The same, and not forwarded again: no two boxes ever wait for each other.
    case forwarded = "forwarded"
  }

  /// Where a box takes requests meant for it. Its own id is in the path, so that a signed request is good for that box
  /// alone.
  public static func path(_ box: DeviceID, _ rest: String) -> String { "/site/v1/\(box)/\(rest)" }
}
