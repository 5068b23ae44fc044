internal import COpenSSL

/// A SHA-256 digest (FIPS 180-4): 32 bytes, written as 64 lower-case hexadecimal digits. It lies where it is kept, without
/// memory of its own: trees have millions of them.
public struct Digest: Hashable, Sendable, Comparable, CustomStringConvertible {
  public static let length = 32
  /// Of words and not of a vector, whose alignment the frames of asynchronous functions do not keep (Swift 6.3).
  private struct Words: Hashable, Sendable { var a, b, c, d: UInt64 }
  private var words = Words(a: 0, b: 0, c: 0, d: 0)

  /// The 32 bytes.
  public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

  /// Takes exactly 32 bytes; anything else is nil.
  public init?(bytes: some Sequence<UInt8>) {
    let copied = Array(bytes)
    guard copied.count == Digest.length else { return nil }
    Swift.withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: copied) }
  }

  /// The bytes of all of them, one after the other.
  public static func bytes(of digests: [Digest]) -> [UInt8] { digests.withUnsafeBytes { Array($0) } }

  /// Takes 64 hexadecimal digits; anything else is nil.
  public init?(hex: some StringProtocol) {
    guard let bytes = Hex.decode(hex) else { return nil }
    self.init(bytes: bytes)
  }

  /// The digest of these bytes.
  public init(of bytes: some Sequence<UInt8>) {
    var hasher = SHA256()
    hasher.update(bytes)
    self = hasher.finalize()
  }

  /// The digest of a byte and two runs of bytes behind it: a node of a tree.
  init(prefix: UInt8, _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) {
    Swift.withUnsafeMutableBytes(of: &words) { target in
      skerry_sha256(
        prefix, first.baseAddress, first.count, second.baseAddress, second.count,
        target.bindMemory(to: UInt8.self).baseAddress)
    }
  }

  /// Written by `fill`, which gets 32 bytes.
  fileprivate init(fill: (UnsafeMutablePointer<UInt8>?) -> Void) {
    Swift.withUnsafeMutableBytes(of: &words) { fill($0.bindMemory(to: UInt8.self).baseAddress) }
  }

  /// The 32 bytes where they lie.
  public func withUnsafeBytes<T>(_ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
    try Swift.withUnsafeBytes(of: words, body)
  }

  public var hex: String { Hex.encode(bytes) }
  public var description: String { hex }
  public static func < (left: Digest, right: Digest) -> Bool {
    left.withUnsafeBytes { left in right.withUnsafeBytes { left.lexicographicallyPrecedes($0) } }
  }
}

extension Digest: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    guard let digest = Digest(hex: try container.decode(String.self)) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "not 64 hexadecimal digits")
    }
    self = digest
  }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(hex)
  }
}

/// SHA-256 over bytes that arrive in pieces.
public struct SHA256: ~Copyable {
  private let context: OpaquePointer

  public init() {
    guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
      preconditionFailure("OpenSSL has no memory for a digest")
    }
    self.context = context
  }

  deinit { EVP_MD_CTX_free(context) }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
  }

  public mutating func update(_ bytes: some Sequence<UInt8>) {
    let done: Void? = bytes.withContiguousStorageIfAvailable {
      _ = EVP_DigestUpdate(context, $0.baseAddress, $0.count)
    }
    if done == nil {
      let copied = Array(bytes)
      EVP_DigestUpdate(context, copied, copied.count)
    }
  }

  /// The digest of all that was given; the hasher takes no more after it.
  public consuming func finalize() -> Digest {
    Digest { _ = EVP_DigestFinal_ex(context, $0, nil) }
  }
}

/// SHA-512 (FIPS 180-4), for metadata of others that lists no SHA-256.
enum SHA512 {
  /// Bytes.
  static let length = 64

  static func digest(of bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: length)
    COpenSSL.SHA512(bytes, bytes.count, &digest)
    return digest
  }
}

/// HMAC-SHA-256 (RFC 2104).
public enum HMACSHA256 {
  public static func authenticationCode(for message: [UInt8], key: [UInt8]) -> [UInt8] {
    var code = [UInt8](repeating: 0, count: Digest.length)
    var length = UInt32(Digest.length)
    HMAC(EVP_sha256(), key, Int32(key.count), message, message.count, &code, &length)
    return code
  }
}

/// Bytes from OpenSSL's cryptographically secure generator.
public enum SecureRandom {
  public static func bytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    precondition(RAND_bytes(&bytes, Int32(count)) == 1, "the system has no randomness to give")
    return bytes
  }
}

/// Compares secrets without telling by its time where they differ.
public func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
  left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
}
