/// A body of any length sealed to one key in pieces, so that neither side holds it whole:
/// the encapsulated key (32 bytes), then pieces of 65,536 bytes of plaintext and a 16-byte tag each, the last one
/// shorter or equal. A piece's additional data is one byte, 1 for the last piece and 0 for the others, and its place is
/// in HPKE's sequence number: a body that was cut, continued or reordered does not open.
public enum SealedStream {
  /// Bytes of plaintext in every piece but the last.
  public static let pieceLength = 65_536

  /// What `plaintext` bytes become, in bytes.
  public static func sealedLength(of plaintext: UInt64) -> UInt64 {
    let pieces = max(1, (plaintext + UInt64(pieceLength) - 1) / UInt64(pieceLength))
    return UInt64(HPKE.encapsulatedLength) + plaintext + pieces * UInt64(HPKE.overhead)
  }

  /// How many bytes a sealed body of this length holds; nil when no body has it.
  public static func plaintextLength(of sealed: UInt64) -> UInt64? {
    let (full, head) = (UInt64(pieceLength + HPKE.overhead), UInt64(HPKE.encapsulatedLength))
    guard sealed >= head + UInt64(HPKE.overhead) else { return nil }
    let pieces = (sealed - head + full - 1) / full
    let plaintext = sealed - head - min(sealed - head, pieces * UInt64(HPKE.overhead))
    return sealedLength(of: plaintext) == sealed ? plaintext : nil
  }

  /// Takes plaintext in pieces of any size and hands out sealed bytes.
  public struct Sealer: Sendable {
    private var sender: HPKE.Sender
    private var waiting: [UInt8] = []
    private var hasBegun = false

    public init(to recipient: SealingKey, info: [UInt8]) throws(HPKEError) {
      sender = try HPKE.Sender(to: recipient, info: info)
    }

    public mutating func push(_ bytes: some Collection<UInt8>) throws(HPKEError) -> [UInt8] {
      waiting += bytes
      var sealed = head()
      var start = 0
      // The last piece waits for `finish`, which knows that it is the last.
      while waiting.count - start > pieceLength {
        sealed += try sender.seal(Array(waiting[start..<start + pieceLength]), additional: [0])
        start += pieceLength
      }
      waiting.removeFirst(start)
      return sealed
    }

    public mutating func finish() throws(HPKEError) -> [UInt8] {
      let last = waiting
      waiting = []
      return head() + (try sender.seal(last, additional: [1]))
    }

    private mutating func head() -> [UInt8] {
      defer { hasBegun = true }
      return hasBegun ? [] : sender.encapsulatedKey
    }
  }

  /// Takes sealed bytes in pieces of any size and hands out plaintext. Nothing of it is whole before `finish` returns.
  public struct Opener: Sendable {
    private let key: OpeningKey
    private let info: [UInt8]
    private var receiver: HPKE.Receiver?
    private var waiting: [UInt8] = []
    private static let sealedPiece = pieceLength + HPKE.overhead

    public init(key: OpeningKey, info: [UInt8]) {
      self.key = key
      self.info = info
    }

    public mutating func push(_ bytes: some Collection<UInt8>) throws(HPKEError) -> [UInt8] {
      waiting += bytes
      try begin()
      guard receiver != nil else { return [] }
      var plaintext: [UInt8] = []
      var start = 0
      while waiting.count - start > Self.sealedPiece {
        plaintext += try open(Array(waiting[start..<start + Self.sealedPiece]), last: false)
        start += Self.sealedPiece
      }
      waiting.removeFirst(start)
      return plaintext
    }

    /// The last piece's plaintext. Throws `.notAuthentic` when the body ends too early.
    public mutating func finish() throws(HPKEError) -> [UInt8] {
      let last = waiting
      waiting = []
      return try open(last, last: true)
    }

    private mutating func begin() throws(HPKEError) {
      guard receiver == nil, waiting.count >= HPKE.encapsulatedLength else { return }
      let encapsulated = Array(waiting.prefix(HPKE.encapsulatedLength))
      receiver = try HPKE.Receiver(encapsulatedKey: encapsulated, key: key, info: info)
      waiting.removeFirst(HPKE.encapsulatedLength)
    }

    private mutating func open(_ piece: [UInt8], last: Bool) throws(HPKEError) -> [UInt8] {
      guard receiver != nil else { throw .notAuthentic }
      // Optional chaining, so that the sequence number moves in place.
      guard let plaintext = try receiver?.open(piece, additional: [last ? 1 : 0]) else { throw .notAuthentic }
      return plaintext
    }
  }

  /// A small body at once.
  public static func seal(_ plaintext: [UInt8], to recipient: SealingKey, info: [UInt8]) throws(HPKEError) -> [UInt8] {
    var sealer = try Sealer(to: recipient, info: info)
    let start = try sealer.push(plaintext)
    return try start + sealer.finish()
  }

  public static func open(_ sealed: [UInt8], key: OpeningKey, info: [UInt8]) throws(HPKEError) -> [UInt8] {
    var opener = Opener(key: key, info: info)
    let start = try opener.push(sealed)
    return try start + opener.finish()
  }
}
