import Dispatch
import Glibc
import Synchronization
import Testing
import Web

/// Runs a server on loopback for the length of `body`; stopped however that ends.
func withServer<T: Sendable>(
  _ configuration: HTTPServer.Configuration = settings { _ in },
  handler: @escaping HTTPServer.Handler,
  _ body: (HTTPServer, Int) async throws -> T
) async throws -> T {
  let server = HTTPServer(configuration, handler: handler)
  try server.start()
  do {
    let result = try await body(server, server.boundPorts.first ?? 0)
    await server.stop(drain: .zero)
    return result
  } catch {
    await server.stop(drain: .zero)
    throw error
  }
}

/// A server's settings: a free port of loopback, and what `change` says.
func settings(_ change: (inout HTTPServer.Configuration) -> Void) -> HTTPServer.Configuration {
  var configuration = HTTPServer.Configuration(listeners: [.tcp(host: "127.0.0.1", port: 0)])
  change(&configuration)
  return configuration
}

/// Runs blocking work off the cooperative pool.
func blocking<T: Sendable>(_ work: @escaping @Sendable () throws -> T) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    let thread = DispatchQueue(label: "blocking")
    thread.async { continuation.resume(with: Result { try work() }) }
  }
}

/// Waits until `condition` holds; false when it did not within `limit`.
func eventually(within limit: Duration = .seconds(5), _ condition: () -> Bool) async -> Bool {
  let end = ContinuousClock.now + limit
  while !condition() {
    if ContinuousClock.now > end { return false }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return true
}

struct SocketFailure: Error { let code: Int32 }

/// A connected socket that says exactly what a test wants said. Blocking, with a limit on each wait.
final class RawSocket: Sendable {
  let descriptor: Int32
  private let isOpen = Atomic(true)

  init(descriptor: Int32) {
    self.descriptor = descriptor
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  convenience init(port: Int) throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = loopback(port: port)
    let done = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard done == 0 else { throw SocketFailure(code: errno) }
    self.init(descriptor: descriptor)
  }

  deinit { close() }

  func close() { if isOpen.exchange(false, ordering: .relaxed) { Glibc.close(descriptor) } }

  @discardableResult
  func send(_ text: String) -> Bool { send(Array(text.utf8)) }

  /// False when the peer takes no more.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count <= 0 { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  /// What is there, nil at the end or after the wait.
  func receive(_ most: Int = 65536) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: most)
    let count = recv(descriptor, &buffer, most, 0)
    return count > 0 ? Array(buffer.prefix(count)) : nil
  }

  /// Everything until the peer closes.
  func receiveAll() -> String {
    var all: [UInt8] = []
    while let piece = receive() { all += piece }
    return String(decoding: all, as: UTF8.self)
  }

  /// Reads until the text holds `mark`.
  func receive(until mark: String) -> String {
    var all = ""
    while !all.contains(mark), let piece = receive() { all += String(decoding: piece, as: UTF8.self) }
    return all
  }
}

func loopback(port: Int) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = in_port_t(port).bigEndian
  address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
  return address
}

/// A server that does to each connection what the test wants, on a thread of its own.
final class RawServer: Sendable {
  let port: Int
  let connections = Atomic<Int>(0)
  private let descriptor: Int32

  init(_ serve: @escaping @Sendable (RawSocket) -> Void) throws {
    let listening = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = loopback(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let done = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listening, $0, length) == 0 && listen(listening, 16) == 0 && getsockname(listening, $0, &length) == 0
      }
    }
    guard done else { throw SocketFailure(code: errno) }
    descriptor = listening
    port = Int(UInt16(bigEndian: address.sin_port))
    DispatchQueue(label: "raw server").async { [weak self] in
      while true {
        let accepted = accept(listening, nil, nil)
        guard accepted >= 0 else { return }
        self?.connections.add(1, ordering: .relaxed)
        DispatchQueue(label: "raw connection").async { serve(RawSocket(descriptor: accepted)) }
      }
    }
  }

  /// Wakes the accepting thread, which ends.
  func stop() {
    shutdown(descriptor, Int32(SHUT_RDWR))
    close(descriptor)
  }
}

/// A folder of the test's own, removed with the value.
final class Scratch: Sendable {
  let path: String
  init() throws {
    var template = Array("/tmp/skerry-web-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SocketFailure(code: errno) }
    path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
  deinit {
    for name in ["s", "f", "keep"] { unlink("\(path)/\(name)") }
    rmdir(path)
  }
}

/// Bytes of memory that this process holds.
func residentBytes() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 128)
  guard fgets(&line, 128, file) != nil else { return 0 }
  let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  return (Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0) * 4096
}

final class Flag: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}

final class Counter: Sendable {
  private let count = Atomic(0)
  var value: Int { count.load(ordering: .acquiring) }
  @discardableResult func add(_ by: Int = 1) -> Int { count.add(by, ordering: .acquiringAndReleasing).newValue }
}

extension HTTPClient {
  /// The status of a GET over loopback.
  func status(_ port: Int, _ path: String = "/") async throws -> Int {
    try await send(ClientRequest(url: "http://127.0.0.1:\(port)\(path)")).status
  }
}
