import Models
import Storage
import Trust

/// Fetches a model's missing chunks, several at a time, each verified before it is written.
///
/// What is under way when the network, the agent or the machine goes is fetched again. So no more than one chunk's
/// largest length is ever under way: the chunks of each moment's requests together, as they are in the file.
struct ChunkFetch: Sendable {
  let label: String
  let source: any ModelSource
  let assembler: ChunkAssembler
  let progress: ProgressHandler?

  /// Bytes that may be asked for and not yet stored: 256 KiB, casync's longest chunk.
  static let window = Chunker.maximum
  /// Requests at the same time: so many of the average length fill the window, and twice as many short ones.
  static let parallel = 8

  /// Fetches the chunks with these numbers. Returns the bytes that travelled. After an error no more are asked for, and
  /// those under way are still taken in.
  func run(_ numbers: [UInt32]) async throws -> UInt64 {
    let total = assembler.index.totalLength
    func report() {
      progress?(SyncProgress(.download, model: label, done: total - assembler.remaining, total: total))
    }
    report()
    return try await withThrowingTaskGroup(of: (length: Int, travelled: Int).self) { group in
      var waiting = numbers[...]
      var (underway, requests) = (0, 0)
      var travelled: UInt64 = 0
      func ask() {
        while let number = waiting.first.map(Int.init), requests < ChunkFetch.parallel {
          let length = assembler.index.length(number)
          guard requests == 0 || underway + length <= ChunkFetch.window else { return }
          waiting = waiting.dropFirst()
          underway += length
          requests += 1
          group.addTask { (length, try await fetch(number)) }
        }
      }
      var failure: (any Error)?
      ask()
      while let result = await group.nextResult() {
        switch result {
        case .success(let done):
          underway -= done.length
          requests -= 1
          travelled += UInt64(done.travelled)
          report()
          if failure == nil { ask() }
        case .failure(let error):
          failure = failure ?? error
        }
      }
      if let failure { throw failure }
      return travelled
    }
  }

  private func fetch(_ number: Int) async throws -> Int {
    let (id, length) = (assembler.index.id(number), assembler.index.length(number))
    // Incompressible bytes grow a little: Zstandard's own bound is 1/256 and a few bytes.
    let compressed = try await source.chunk(id, limit: length + length / 128 + 1024)
    do {
      try await offPool { [assembler] in try assembler.put(id, compressed: compressed) }
    } catch StorageError.wrongDigest {
      throw RegistryError.badChunk(model: label, id)
    }
    return compressed.count
  }
}
