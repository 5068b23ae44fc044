internal import CProcess
import Glibc
import Synchronization

/// Signals as values in a stream.
public enum Signals {
  private static let pipe = Mutex<(read: Descriptor, write: Descriptor)?>(nil)
  private static let streams = Mutex<[(numbers: Set<Int32>, continuation: AsyncStream<Int32>.Continuation)]>([])

  /// From now on each of these signals is an element instead of an end. Several streams may be open; each gets the
  /// signals that it asked for.
  public static func stream(_ numbers: [Int32]) throws -> AsyncStream<Int32> {
    let (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(16))
    let descriptor = try ends().write.number
    streams.withLock { $0.append((Set(numbers), continuation)) }
    let code = skerry_signals_to_pipe(numbers, numbers.count, descriptor)
    if code != 0 { throw HostError(operation: "sigaction", path: "", code: code) }
    return stream
  }

  /// A write to a peer that has gone is an error instead of the end of this process.
  public static func ignoreBrokenPipe() { _ = skerry_ignore_signal(SIGPIPE) }

  /// The self-pipe, made once, and the thread that reads it.
  private static func ends() throws -> (read: Descriptor, write: Descriptor) {
    try pipe.withLock { pipe in
      if let pipe { return pipe }
      let made = try Descriptor.pipe()
      _ = fcntl(made.write.number, F_SETFL, O_NONBLOCK)
      try WorkerThread.start("skerry-signals") {
        var number: UInt8 = 0
        while true {
          let got = read(made.read.number, &number, 1)
          if got == 1 { deliver(Int32(number)) }
          if got == 0 || (got < 0 && errno != EINTR) { return }
        }
      }
      pipe = made
      return made
    }
  }

  private static func deliver(_ number: Int32) {
    let wanting = streams.withLock { streams in streams.filter { $0.numbers.contains(number) } }
    for stream in wanting { stream.continuation.yield(number) }
  }
}
