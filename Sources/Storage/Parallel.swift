internal import Dispatch
import Synchronization

/// Work on many small things by as many threads as there are cores.
enum Parallel {
  /// Calls with each number from 0, in blocks, several at a time; after the first error no more begin. Returns when all
  /// have ended.
  static func each<Failure: Error>(
    _ count: Int, block: Int = 64, _ body: @Sendable (Int) throws(Failure) -> Void
  ) throws(Failure) {
    let failure = Mutex<Failure?>(nil)
    let blocks = (count + block - 1) / block
    DispatchQueue.concurrentPerform(iterations: blocks) { at in
      guard failure.withLock({ $0 == nil }) else { return }
      for number in at * block..<min((at + 1) * block, count) {
        do throws(Failure) { try body(number) } catch {
          failure.withLock { $0 = $0 ?? error }
          return
        }
      }
    }
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  /// What the body makes of each, in their order; several at a time. Throws the first error.
  static func map<Item: Sendable, Made: Sendable>(
    _ items: [Item], _ body: @Sendable (Item) throws -> Made
  ) throws -> [Made] {
    let made = Mutex<[Made?]>(Array(repeating: nil, count: items.count))
    try each(items.count, block: 1) { at in
      let one = try body(items[at])
      made.withLock { $0[at] = one }
    }
    return made.withLock { $0.compactMap { $0 } }
  }
}
