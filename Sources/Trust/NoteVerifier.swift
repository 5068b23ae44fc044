/// What can be wrong with a signed note, a verifier key or a checkpoint.
public enum NoteError: Error, Hashable, CustomStringConvertible {
  case malformedVerifierKey(String)
  case invalidName(String)
  case malformedText(String)
  case malformedSignature(line: Int)
  case tooLarge
  case malformedCheckpoint(String)

  public var description: String {
    switch self {
    case .malformedVerifierKey(let reason):
      "this is no verifier key: \(reason); it looks like name+c74f20a3+ARpc2QcU…"
    case .invalidName(let name):
      "\(name.debugDescription) can't name a key: it must not be empty and have no space and no +"
    case .malformedText(let reason): "this is no signed note: \(reason)"
    case .malformedSignature(let line): "this is no signed note: signature line \(line) is malformed"
    case .tooLarge: "a signed note has at most \(SignedNote.maximumLength) bytes and 100 signatures"
    case .malformedCheckpoint(let reason): "this is no checkpoint: \(reason)"
    }
  }
}

/// The public half of a key that signs notes (C2SP signed-note, "Verifier keys").
public struct NoteVerifier: Sendable, Hashable {
  /// Signature types of C2SP signed-note.
  public static let ed25519: UInt8 = 1
  public static let cosignatureV1: UInt8 = 4

  public let name: String
  public let keyID: UInt32
  /// `ed25519` (1) or `cosignatureV1` (4).
  public let algorithm: UInt8
  public let key: VerifyingKey

  public init(name: String, key: VerifyingKey, algorithm: UInt8 = NoteVerifier.ed25519) {
    self.name = name
    self.key = key
    self.algorithm = algorithm
    keyID = NoteVerifier.keyID(name: name, key: key, algorithm: algorithm)
  }

  /// Reads `name+hexid+base64(algorithm || key)`. Throws when any part is missing or the id is not the key's.
  public init(vkey: String) throws(NoteError) {
    let parts = vkey.split(separator: "+", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 3 else { throw .malformedVerifierKey("it has no two + signs") }
    guard NoteVerifier.isValidName(parts[0]) else { throw .invalidName(parts[0]) }
    guard parts[1].utf8.count == 8, let id = UInt32(parts[1], radix: 16), !parts[1].hasPrefix("+") else {
      throw .malformedVerifierKey("its key id is not 8 hexadecimal digits")
    }
    guard let bytes = Base64.decode(parts[2]), let algorithm = bytes.first else {
      throw .malformedVerifierKey("its key is not base64")
    }
    guard algorithm == NoteVerifier.ed25519 || algorithm == NoteVerifier.cosignatureV1 else {
      throw .malformedVerifierKey("its algorithm is \(algorithm), and only 1 and 4 are known")
    }
    guard let key = VerifyingKey(bytes: bytes.dropFirst()) else {
      throw .malformedVerifierKey("its key has not 32 bytes")
    }
    self.init(name: parts[0], key: key, algorithm: algorithm)
    guard keyID == id else { throw .malformedVerifierKey("its key id is not its key's: a character is wrong") }
  }

  /// `name+hexid+base64(algorithm || key)`, the form that is written down.
  public var vkey: String {
    "\(name)+\(Hex.encode(bigEndian(keyID)))+\(Base64.encode([algorithm] + key.bytes))"
  }

  /// SHA-256(name || 0x0A || algorithm || key), its first four bytes.
  public static func keyID(name: String, key: VerifyingKey, algorithm: UInt8) -> UInt32 {
    let digest = Digest(of: Array(name.utf8) + [0x0A, algorithm] + key.bytes)
    return digest.bytes.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// True for a name that a signature line can carry: not empty, no white space, no `+`.
  public static func isValidName(_ name: String) -> Bool {
    !name.isEmpty
      && name.unicodeScalars.allSatisfy {
        !$0.properties.isWhitespace && $0 != "+" && $0.value >= 0x20 && $0 != "\u{7F}"
      }
  }
}

/// The bytes of an integer, the most significant first.
func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.bigEndian) { Array($0) }
}
