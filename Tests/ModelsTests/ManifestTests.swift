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
      if key != "index" { #expect(refuses(manifest.targetPath) { $0[key] = nil }, "\(key)") }
      #expect(refuses(manifest.targetPath) { $0[key] = 1 }, "\(key)")
    }
    #expect(refuses(manifest.targetPath) { $0["contextLength"] = -1 })
    #expect(refuses(manifest.targetPath) { $0["license"] = 3 })
    #expect(refuses(manifest.targetPath) { $0["name"] = "../x" })
    #expect((try? ModelManifest(target: manifest.targetPath, length: 5, sha256: digest, custom: nil)) == nil)
  }

  @Test func aModelWithoutAnIndexIsOneFile() throws {
    var whole = try manifest
    whole.index = nil
    #expect(whole.customJSON["skerry"]?["index"] == nil)
    let read = try ModelManifest(
      target: whole.targetPath, length: whole.length, sha256: whole.sha256, custom: whole.customJSON)
    #expect(read == whole)
    // As TUF's consistent snapshots name it.
    #expect(read.filePath == "models/\(read.name)/\(read.version)/\(read.sha256.hex).\(read.fileName)")
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

@Suite struct AdapterTests {
  private let base = Digest(of: [7])

  @Test func anAdapterNamesItsBaseByDigest() throws {
    let adapter = ModelManifest(
      name: try #require(ModelName("french")), version: try #require(ModelVersion("1")), fileName: "a.gguf", length: 9,
      sha256: Digest(of: [1]), index: .init(length: 1, sha256: Digest(of: [2])), architecture: "llama",
      contextLength: 0, base: base)
    #expect(adapter.kind == .adapter)
    func read(_ change: (inout [String: JSONValue]) -> Void = { _ in }) -> ModelManifest? {
      var fields = adapter.customJSON["skerry"]?.object ?? [:]
      change(&fields)
      return try? ModelManifest(
        target: adapter.targetPath, length: 9, sha256: adapter.sha256, custom: ["skerry": .object(fields)])
    }
    #expect(read() == adapter)
    #expect(read { $0["base"] = nil } == nil)
    #expect(read { $0["base"] = ["sha256": "12"] } == nil)
    #expect(read { $0["base"] = ["sha256": .string(adapter.sha256.hex)] } == nil, "its own base")
    #expect(read { $0["kind"] = "model" } == nil, "a model with a base")
    #expect(read { $0["kind"] = "vocabulary" } == nil)
  }

  @Test func theFileSaysWhatItIs() throws {
    func header(_ pairs: [(String, [UInt8])]) throws -> GGUFHeader {
      var builder = GGUFBuilder()
      builder.metadata += pairs.map { (key: $0.0, value: $0.1) }
      return try GGUFHeader.parse(bytes: builder.bytes)
    }
    let plain = try header([])
    let adapter = try header([("general.type", text("adapter")), ("adapter.type", text("lora"))])
    #expect(try plain.kind() == .model)
    #expect(try header([("general.type", text("model"))]).kind() == .model)
    #expect(try adapter.kind() == .adapter)
    for odd in [
      [("general.type", text("mmproj"))], [("general.type", text("adapter"))],
      [("general.type", le(UInt32(4)) + le(UInt32(1)))],
    ] {
      #expect(throws: GGUFError.self) { try header(odd).kind() }
    }
    try plain.demand(.model, architecture: "llama")
    try adapter.demand(.adapter, architecture: "llama")
    #expect(throws: GGUFError.self) { try plain.demand(.adapter, architecture: "llama") }
    #expect(throws: GGUFError.self) { try adapter.demand(.model, architecture: "llama") }
    #expect(throws: GGUFError.self) { try plain.demand(.model, architecture: "qwen2") }
  }
}
