import Trust

/// The signature that a model's publisher has put on its files, as the signed metadata records it: whoever put the model
/// into the repository has verified it. The bundle itself lies beside the chunk indexes, for whoever wants to again.
public struct PublisherSignature: Hashable, Sendable, Codable {
  /// The bundle's length in bytes and its digest, which is also its name: `signatures/SHA256.sigstore.json`.
  public var length: UInt64
  public var sha256: Digest
  /// Whose it is, for people: a publisher's name, and the key or certificate.
  public var signer: String

  public init(length: UInt64, sha256: Digest, signer: String) {
    self.length = length
    self.sha256 = sha256
    self.signer = PublisherSignature.plain(signer)
  }

  /// Longest text that names a signer, in bytes.
  public static let longestSigner = 256

  /// Where the bundle lies in a repository.
  public var path: String { PublisherSignature.path(sha256) }
  public static func path(_ digest: Digest) -> String { "signatures/\(digest.hex).sigstore.json" }

  /// Reads `custom.skerry.signature`; nil when it has not that form.
  public init?(_ value: JSONValue) {
    guard let length = value["length"]?.integer, length > 0, length <= SigstoreBundle.limit,
      let sha256 = value["sha256"]?.string.flatMap({ Digest(hex: $0) }), let signer = value["signer"]?.string,
      !signer.isEmpty, signer == PublisherSignature.plain(signer)
    else { return nil }
    self.init(length: UInt64(length), sha256: sha256, signer: signer)
  }

  public var json: JSONValue {
    ["length": .integer(Int64(clamping: length)), "sha256": .string(sha256.hex), "signer": .string(signer)]
  }

  /// One line without control and direction characters, cut at whole characters.
  private static func plain(_ text: String) -> String {
    var shown = ""
    for character in text {
      let isPlain = character.unicodeScalars.allSatisfy {
        $0.properties.generalCategory != .control && $0.properties.generalCategory != .format
          && $0.properties.generalCategory != .lineSeparator && $0.properties.generalCategory != .paragraphSeparator
      }
      let next = isPlain ? String(character) : "?"
      guard shown.utf8.count + next.utf8.count <= longestSigner else { break }
      shown += next
    }
    return shown
  }
}
