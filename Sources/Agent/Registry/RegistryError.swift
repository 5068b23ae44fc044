import Models
import Storage
import Trust

/// Why the registry can't do what it was asked for. Models go by `NAME:VERSION`, sizes are in bytes.
public enum RegistryError: Error, Sendable, CustomStringConvertible {
  /// No model of this name is installed, on its way or signed for this box.
  case unknownModel(String)
  /// It is known but not yet complete.
  case notReady(String, ModelState)
  /// Another file has taken its name and version since it was resolved.
  case replaced(String)
  /// Its bytes are not the signed ones, or they are no model. The next sync mends it.
  case corrupt(String, reason: String)
  /// Somebody has its file open for writing, so that no engine gets it.
  case touched(String)
  /// No kept, signed metadata names it, whatever the database says.
  case unvouched(String, reason: String)
  /// It went to make room for another.
  case evicted(String)
  /// The quota leaves no room for it, even without all that may go.
  case noRoom(model: String, needed: UInt64, used: UInt64, quota: UInt64)
  /// The model that an adapter belongs to is not on the box.
  case baseMissing(model: String, base: Digest)
  /// An adapter was asked for as if it were a model.
  case isAdapter(String, base: String)
  case noSpace(model: String, needed: UInt64, free: UInt64)
  /// The hub's index is not the one that the signed metadata names.
  case wrongIndex(model: String)
  case badIndex(model: String, ChunkIndexError)
  /// The index describes a file of another length than the signed one.
  case indexDisagrees(model: String)
  /// The hub's chunk does not have the digest that names it.
  case badChunk(model: String, ChunkID)
  /// The source does not have a file that the signed metadata names.
  case notServed(String)
  /// All chunks match the index, but the file does not match its signed digest: the publisher's index is wrong.
  case wrongDigest(model: String)
  /// The whole file that came is another than the signed one.
  case wrongFile(model: String)
  case refused(model: String, GGUFError)
  /// The publication was found wrong before and has not changed since.
  case givenUp(model: String, reason: String)
  /// Another reconciliation runs.
  case busy
  /// The metadata that vouches for it expired longer ago than the signed policy allows. Nothing was removed.
  case stale(String, since: Int64, refusedSince: Int64)

  /// True when the signed publication itself is at fault, so that fetching it again changes nothing.
  var isPublishersFault: Bool {
    switch self {
    case .badIndex, .indexDisagrees, .wrongDigest, .refused: true
    default: false
    }
  }

  public var description: String {
    switch self {
    case .unknownModel(let name): "there is no model \(name); `skerry model list` shows those that there are"
    case .notReady(let model, let state):
      "the model \(model) is not ready (\(state.rawValue)); `skerry sync` goes on with it"
    case .replaced(let model): "the model \(model) was just replaced; ask again"
    case .corrupt(let model, let reason):
      "the stored file of \(model) is damaged (\(reason)); it is not loaded, and the next `skerry sync` mends it"
    case .touched(let model):
      "somebody has the stored file of \(model) open for writing; no engine gets it until that ends (see: fuser)"
    case .unvouched(let model, let reason):
      "nobody vouches for \(model): \(reason); it is not loaded, and the next `skerry sync` brings what is signed"
    case .evicted(let model):
      "\(model) went to make room for another model; it was asked back just now, and the next sync fetches it "
        + "(now: `skerry sync`)"
    case .noRoom(let model, let needed, let used, let quota):
      "no room for \(model) under the quota: it needs \(needed) bytes, \(used) of \(quota) are taken, and what may go is "
        + "too little; raise store.quotaBytes, or `skerry model unpin` one"
    case .baseMissing(let model, let base):
      "the adapter \(model) waits for its base \(base.hex.prefix(12))…, which is not on this box"
    case .isAdapter(let adapter, let base):
      "\(adapter) is a LoRA adapter and answers nothing by itself; ask its base \(base)"
    case .noSpace(let model, let needed, let free):
      "not enough disk space for \(model): it needs \(needed) bytes more and \(free) are free; free at least \(needed - min(free, needed)), and it goes on where it is"
    case .wrongIndex(let model): "the chunk index of \(model) is not the signed one"
    case .badIndex(let model, let error): "the chunk index of \(model) can't be read: \(error)"
    case .indexDisagrees(let model): "the chunk index of \(model) describes another file than the signed one"
    case .badChunk(let model, let id): "chunk \(id.hex.prefix(12))… of \(model) arrived damaged"
    case .notServed(let path): "the hub does not have \(path); publish the model again"
    case .wrongDigest(let model):
      "the chunks of \(model) make a file with another digest than the signed one; publish the model again"
    case .wrongFile(let model): "the file of \(model) that arrived is not the signed one"
    case .refused(let model, let error): "\(model) is refused: \(error)"
    case .givenUp(let model, let reason): "\(model) is left alone until it is published anew: \(reason)"
    case .busy: "a synchronisation is already running"
    case .stale(let model, let since, let refusedSince):
      "\(model) does not answer: its signed metadata expired at \(TrustedClock.text(since)), and the repository's policy "
        + "let installed models run until \(TrustedClock.text(refusedSince)); nothing was removed, and a `skerry sync` "
        + "(or a bundle from the hub) brings it back"
    }
  }
}
