internal import Dispatch
import Glibc
import Synchronization
import Trust

extension ModelTree {
  /// Bytes read at a time by each of the workers; with their number this is all the memory that hashing takes.
  static let pieceSize = 1 << 20

  /// Hashes files or pieces of them, several at a time, on threads off Swift's cooperative pool. The digests come in the
  /// order of `ranges`. Throws the first failure: `StorageError`, or `ModelTreeError.changed` for a file that has not the
  /// length that it was listed with; cancelling ends it too.
  public func digests(
    of ranges: [ModelFileRange], workers: Int = ModelTree.processors,
    progress: @escaping @Sendable (_ done: UInt64, _ total: UInt64) -> Void = { _, _ in }
  ) async throws -> [Digest] {
    let total = ranges.reduce(UInt64(0)) { $0 + ($1.bytes.map { UInt64($0.count) } ?? sizes[$1.path] ?? 0) }
    let work = HashWork(tree: self, ranges: ranges, total: total, progress: progress)
    let lanes = max(1, min(workers, ranges.count))
    await withTaskCancellationHandler {
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<lanes {
          group.addTask {
            await withCheckedContinuation { continuation in
              DispatchQueue.global(qos: .utility).async {
                work.run()
                continuation.resume()
              }
            }
          }
        }
      }
    } onCancel: {
      work.stop(CancellationError())
    }
    return try work.result()
  }

  public static var processors: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}

/// The ranges that are still to be hashed, and what has come of the others.
private final class HashWork: Sendable {
  private struct State {
    var next = 0
    var digests: [Digest?]
    var done: UInt64 = 0
    var failure: (any Error)?
  }
  private let tree: ModelTree
  private let ranges: [ModelFileRange]
  private let total: UInt64
  private let progress: @Sendable (UInt64, UInt64) -> Void
  private let state: Mutex<State>

  init(
    tree: ModelTree, ranges: [ModelFileRange], total: UInt64, progress: @escaping @Sendable (UInt64, UInt64) -> Void
  ) {
    self.tree = tree
    self.ranges = ranges
    self.total = total
    self.progress = progress
    state = Mutex(State(digests: Array(repeating: nil, count: ranges.count)))
  }

  func stop(_ error: any Error) {
    state.withLock { if $0.failure == nil { $0.failure = error } }
  }

  /// Takes ranges until there is none left or one has failed.
  func run() {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: ModelTree.pieceSize, alignment: 64)
    defer { buffer.deallocate() }
    while let at = take() {
      do {
        let digest = try hash(ranges[at], buffer)
        state.withLock { $0.digests[at] = digest }
      } catch {
        stop(error)
      }
    }
  }

  func result() throws -> [Digest] {
    try state.withLock { state in
      if let failure = state.failure { throw failure }
      return state.digests.compactMap { $0 }
    }
  }

  private func take() -> Int? {
    state.withLock { state in
      guard state.failure == nil, state.next < ranges.count else { return nil }
      defer { state.next += 1 }
      return state.next
    }
  }

  private func hash(_ range: ModelFileRange, _ buffer: UnsafeMutableRawBufferPointer) throws -> Digest {
    let place = tree.place(of: range.path)
    guard let size = tree.sizes[range.path] else { throw StorageError.notFound(path: place) }
    let file = try OpenFile(place, O_RDONLY | O_NONBLOCK | (tree.followsLinks ? 0 : O_NOFOLLOW))
    guard try file.size() == size else { throw ModelTreeError.changed(path: place) }
    var offset = range.bytes?.lowerBound ?? 0
    let end = range.bytes?.upperBound ?? size
    guard end <= size else { throw ModelTreeError.changed(path: place) }
    var hasher = SHA256()
    while offset < end {
      let want = Int(min(UInt64(buffer.count), end - offset))
      let got = try file.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<want]))
      guard got == want else { throw ModelTreeError.changed(path: place) }
      hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
      offset += UInt64(got)
      let done = state.withLock { state -> UInt64? in
        state.done += UInt64(got)
        return state.failure == nil ? state.done : nil
      }
      guard let done else { throw CancellationError() }
      progress(done, total)
    }
    guard try file.size() == size else { throw ModelTreeError.changed(path: place) }
    return hasher.finalize()
  }
}
