import FoundationEssentials
import Models
import Testing
import Trust

@Suite struct ManifestTests {
  private let digest = Digest(of: [1])

  private var manifest: ModelManifest {
    get throws {
      ModelManifest(
        name: try #require(ModelName("smollm2")), version: try #require(ModelVersion("1.0")), fileName: "m.gguf",
        length: 98_362_432, sha256: digest, index: .init(length: 1_000, sha256: Digest(of: [2])),
        architecture: "llama", contextLength: 8192, license: "Apache-2.0", publisher: nil)
    }
  }

  @Test func goesThroughATargetAndBack() throws {
    let manifest = try manifest
    #expect(manifest.targetPath == "models/smollm2/1.0/m.gguf")
    let read = try ModelManifest(
      target: manifest.targetPath, length: manifest.length, sha256: manifest.sha256, custom: manifest.customJSON)
    #expect(read == manifest)
    let coded = try JSONDecoder().decode(ModelManifest.self, from: JSONEncoder().encode(manifest))
    #expect(coded == manifest)
  }

  @Test func refusesTargetsThatContradictThemselves() throws {
    let manifest = try manifest
    func refuses(_ path: String, _ change: (inout [String: JSONValue]) -> Void = { _ in }) -> Bool {
      var fields = manifest.customJSON["skerry"]?.object ?? [:]
      change(&fields)
      return (try? ModelManifest(target: path, length: 5, sha256: digest, custom: ["skerry": .object(fields)])) == nil
    }
    #expect(!refuses(manifest.targetPath))
    for path in [
      "models/other/1.0/m.gguf", "models/smollm2/2.0/m.gguf", "models/smollm2/1.0/m.bin", "models/smollm2/1.0/.gguf",
      "models/smollm2/1.0/a/m.gguf", "/models/smollm2/1.0/m.gguf", "m.gguf", "models/smollm2/1.0/a b.gguf",
    ] { #expect(refuses(path), "\(path)") }
    for key in ["kind", "format", "name", "version", "architecture", "index"] {
      #expect(refuses(manifest.targetPath) { $0[key] = nil }, "\(key)")
      #expect(refuses(manifest.targetPath) { $0[key] = 1 }, "\(key)")
    }
    #expect(refuses(manifest.targetPath) { $0["contextLength"] = -1 })
    #expect(refuses(manifest.targetPath) { $0["license"] = 3 })
    #expect(refuses(manifest.targetPath) { $0["name"] = "../x" })
    #expect((try? ModelManifest(target: manifest.targetPath, length: 5, sha256: digest, custom: nil)) == nil)
  }

  @Test func namesKeepTheirRule() {
    for good in ["a", "smollm2-135m", "qwen3.5_x", String(repeating: "a", count: 64)] {
      #expect(ModelName(good) != nil)
    }
    for bad in ["", "A", ".a", "-a", "a/b", "a b", "é", "a\n", String(repeating: "a", count: 65)] {
      #expect(ModelName(bad) == nil)
    }
  }

  @Test func versionsOrderByTheirNumbers() throws {
    let ordered = try ["0.9", "1", "1.2", "1.10", "1.10.1", "2.0-rc1", "18446744073709551616"].map {
      try #require(ModelVersion($0))
    }
    #expect(ordered.shuffled().sorted() == ordered)
    #expect(ModelVersion("1 0") == nil)
    #expect(ModelVersion("../1") == nil)
  }
}
