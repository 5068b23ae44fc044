import Fleet
import FoundationEssentials
import Models
import Testing
import Trust

/// A director's statement that is damaged, and still signed: a stolen hub can sign anything. Whatever a box makes of it,
/// it wants nothing that the image repository does not say as well.
extension Fuzz {
  private static func model(_ name: String, _ version: String) -> TUFTarget {
    let manifest = JSONValue.object([
      "kind": "model", "format": "gguf", "name": .string(name), "version": .string(version), "architecture": "llama",
      "contextLength": 64, "index": ["length": 60, "sha256": .string(Digest(of: [2]).hex)],
    ])
    return TUFTarget(
      path: "models/\(name)/\(version)/\(name).gguf", length: 5, sha256: Digest(of: Array("\(name)\(version)".utf8)),
      custom: ["skerry": manifest])
  }

  @Test func directorStatement() throws {
    let device = DeviceID(key: Fuzz.key.verifyingKey)
    let targets = [Self.model("a", "1"), Self.model("a", "2"), Self.model("b", "1")]
    let images = Dictionary(
      uniqueKeysWithValues: targets.map { ($0.path, Admission.Image($0, signers: ["k"])) })
    let statement = try TUFWriter.targets(
      version: 3, expires: Date(timeIntervalSince1970: 4_000_000_000),
      targets: [DirectorStatement.target(targets[0], isRollback: true), targets[1], targets[2]]
    ).bound(to: TUFBinding(device: device.hex)).signed(by: [Fuzz.key])
    let newest = try #require(ModelVersion("2"))
    let name = try #require(ModelName("a"))
    Self.feed("director statement", [statement]) { input in
      let said = try DirectorStatement(TUFTargets(TUFDocument(parsing: input, as: .targets)))
      let admission = try Admission(
        device: device, statement: said, images: images, known: [], floors: [name: newest])
      for model in admission.wanted {
        #expect(images[model.manifest.targetPath]?.target.sha256 == model.manifest.sha256)
        #expect(said.device == device)
        let isOlder = model.manifest.name == name && model.manifest.version < newest
        #expect(!isOlder || model.rollbackFrom == newest)
      }
    }
  }
}
