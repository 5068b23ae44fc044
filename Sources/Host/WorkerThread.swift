internal import CProcess
import Glibc
import Synchronization

/// A thread of our own, for what must not run on Swift's cooperative pool: calls that block for long, and calls
/// whose effect belongs to the thread that made them.
enum WorkerThread {
  /// Runs the body on a new detached thread.
  static func start(_ name: String, _ body: @escaping @Sendable () -> Void) throws(HostError) {
    let context = Unmanaged.passRetained(Body(name, body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    pthread_attr_setstacksize(&attributes, 512 << 10)
    defer { pthread_attr_destroy(&attributes) }
    var thread = pthread_t()
    let code = pthread_create(
      &thread, &attributes,
      { argument in
        guard let argument else { return nil }
        let body = Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
        skerry_name_thread(body.name)
        body.run()
        return nil
      }, context.toOpaque())
    if code != 0 {
      context.release()
      throw HostError(operation: "pthread_create", path: name, code: code)
    }
  }

  private final class Body: Sendable {
    let name: String
    let run: @Sendable () -> Void
    init(_ name: String, _ run: @escaping @Sendable () -> Void) {
      self.name = name
      self.run = run
    }
  }
}

/// The one thread that forks. PR_SET_PDEATHSIG, and bubblewrap's --die-with-parent with it, follows the thread
/// that forked, so this one lives as long as the process.
final class SpawnThread: Sendable {
  static let shared = Result { () throws(HostError) in try SpawnThread() }

  private let jobs = Mutex<[@Sendable () -> Void]>([])
  private let wake: Descriptor

  private init() throws(HostError) {
    let pipe = try Descriptor.pipe()
    wake = pipe.write
    try WorkerThread.start("skerry-spawn") { [self] in
      while true {
        var byte: UInt8 = 0
        _ = read(pipe.read.number, &byte, 1)
        let waiting = jobs.withLock { jobs in
          defer { jobs = [] }
          return jobs
        }
        for job in waiting { job() }
      }
    }
  }

  /// Runs the body on the thread and waits for it; a fork and exec takes about a millisecond.
  func run<T: Sendable>(_ body: @escaping @Sendable () -> T) async -> T {
    await withCheckedContinuation { continuation in
      jobs.withLock { $0.append { continuation.resume(returning: body()) } }
      var byte: UInt8 = 0
      _ = write(wake.number, &byte, 1)
    }
  }
}
