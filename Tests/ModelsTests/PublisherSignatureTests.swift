import Models
import Testing
import Trust

@Suite struct PublisherSignatureTests {
  private let record = PublisherSignature(length: 5, sha256: Digest(of: [1]), signer: "Acme, key 1234 (P-256)")

  private func manifest(_ signature: JSONValue) throws -> ModelManifest {
    let manifest = ModelManifest(
      name: try #require(ModelName("m")), version: try #require(ModelVersion("1")), fileName: "m.gguf", length: 1,
      sha256: Digest(of: [2]), index: .init(length: 1, sha256: Digest(of: [3])), architecture: "llama",
      contextLength: 0)
    var fields = manifest.customJSON["skerry"]?.object ?? [:]
    fields["signature"] = signature
    return try ModelManifest(
      target: manifest.targetPath, length: 1, sha256: manifest.sha256, custom: ["skerry": .object(fields)])
  }

  @Test func goesThroughTheMetadataAndBack() throws {
    let read = try manifest(record.json)
    #expect(read.signature == record)
    #expect(read.customJSON["skerry"]?["signature"] == record.json)
    #expect(record.path == "signatures/\(Digest(of: [1]).hex).sigstore.json")
  }

  @Test(
    arguments: [
      nil, "x", ["length": 5, "sha256": "00", "signer": "x"], ["length": 0], ["length": 5, "signer": "x"],
    ] as [JSONValue?]) func anotherFormIsRefused(_ value: JSONValue?)
  {
    #expect(throws: ManifestError.self) { try manifest(value ?? .null) }
  }

  @Test func aSignersNameIsOnePlainLine() throws {
    for text in ["", "a\nb", "x\u{1B}[2J", "x\u{202E}y", String(repeating: "é", count: 200)] {
      var json = record.json.object ?? [:]
      json["signer"] = .string(text)
      #expect(PublisherSignature(.object(json)) == nil, "\(text.debugDescription)")
      let made = PublisherSignature(length: 1, sha256: Digest(of: [1]), signer: "x" + text)
      #expect(made.signer.utf8.count <= PublisherSignature.longestSigner)
      #expect(PublisherSignature(made.json) == made)
    }
  }
}
