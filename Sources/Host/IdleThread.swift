internal import CProcess

/// Work in the background that must not slow anything down: a thread of its own that gets what the disk and the processor
/// have left over (ioprio_set(2), class idle; niceness 19).
public enum IdleThread {
  /// Runs the body there. It may block.
  public static func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
      do {
        try WorkerThread.start("skerry-idle") {
          skerry_be_idle()
          continuation.resume(with: Result(catching: body))
        }
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }
}
