import Models
import Storage
import Testing
import Trust

@testable import Agent

/// A GGUF file that says of itself that it is a LoRA adapter.
func adapterFile(seed: UInt64, architecture: String = "llama") -> [UInt8] {
  func le(_ value: UInt64, _ width: Int) -> [UInt8] {
    (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
  }
  func string(_ text: String) -> [UInt8] { le(UInt64(text.utf8.count), 8) + Array(text.utf8) }
  var bytes = Array("GGUF".utf8) + le(3, 4) + le(1, 8) + le(4, 8)
  for (key, value) in [("general.architecture", architecture), ("general.type", "adapter"), ("adapter.type", "lora")] {
    bytes += string(key) + le(8, 4) + string(value)
  }
  bytes += string("adapter.lora.alpha") + le(6, 4) + le(0x4180_0000, 4)
  bytes += string("blk.0.attn_q.weight.lora_a") + le(1, 4) + le(64, 8) + le(0, 4) + le(0, 8)
  bytes += [UInt8](repeating: 0, count: (32 - bytes.count % 32) % 32)
  return bytes + (0..<256).map { UInt8(truncatingIfNeeded: UInt64($0) &* 31 &+ seed) }
}

@Suite struct AdapterStoreTests {
  private let publisher = Publisher()

  private func sync(_ registry: ModelRegistry, _ desired: [String]? = nil) async throws -> ReconcileResult {
    try await registry.reconcile(trusted: try await publisher.trusted(), desired: desired, source: publisher)
  }

  @Test func comesWithItsBaseAndNeverWithoutIt() async throws {
    let box = try RegistryBox()
    let registry = try await box.open()
    let base = try publisher.publish(ggufFile(seed: 1), name: "zebra")
    let adapter = try publisher.publish(adapterFile(seed: 1), name: "ant") {
      $0.kind = .adapter
      $0.base = base.sha256
    }
    // The base sorts behind its adapter and comes first all the same.
    #expect(try await sync(registry).activated == ["zebra:1", "ant:1"])
    #expect(await registry.installed().map(\.manifest.kind) == [.adapter, .model])
    #expect(await registry.adapters(of: base.sha256).map(\.digest) == [adapter.sha256])
    #expect(await registry.adapters(of: adapter.sha256).isEmpty)
    do {
      _ = try await registry.answering("ant")
      Issue.record("an adapter answers")
    } catch RegistryError.isAdapter(let label, let named) { #expect(label == "ant:1" && named == "zebra:1") }
    // A damaged one is left out, and its base answers without it.
    try box.flip(adapter.sha256, at: 300)
    #expect(await registry.adapters(of: base.sha256).isEmpty)
    #expect(await registry.installed().map(\.state) == [.corrupt, .active])
    #expect(try await sync(registry).activated == ["ant:1"])
  }

  @Test func isRefusedWithoutItsBase() async throws {
    let box = try RegistryBox()
    let registry = try await box.open()
    let base = try publisher.publish(ggufFile(seed: 1), name: "base")
    for (name, digest, architecture) in [
      ("stray", Digest(of: [7]), "llama"), ("other", base.sha256, "qwen2"), ("good", base.sha256, "llama"),
    ] {
      try publisher.publish(adapterFile(seed: 2, architecture: architecture), name: name) {
        $0.kind = .adapter
        $0.base = digest
        $0.architecture = architecture
      }
    }
    var result = try await sync(registry, ["stray", "other"])
    #expect(result.activated.isEmpty && result.failures.map(\.model) == ["other:1", "stray:1"])
    result = try await sync(registry)
    #expect(result.activated == ["base:1", "good:1"])
    for (_, error) in result.failures {
      guard case .baseMissing? = error as? RegistryError else {
        Issue.record("\(error)")
        continue
      }
    }
    #expect(publisher.asked.count < 40)
  }

  @Test func aFileMustBeOfTheKindThatIsSigned() async throws {
    let box = try RegistryBox()
    let registry = try await box.open()
    let base = try publisher.publish(ggufFile(seed: 1), name: "base")
    try publisher.publish(ggufFile(seed: 2), name: "masked") {
      $0.kind = .adapter
      $0.base = base.sha256
    }
    try publisher.publish(adapterFile(seed: 3), name: "posing")
    let result = try await sync(registry)
    #expect(result.activated == ["base:1"])
    #expect(result.failures.map(\.model) == ["posing:1", "masked:1"])
    for (_, error) in result.failures {
      guard case .refused(_, .malformed)? = error as? RegistryError else {
        Issue.record("\(error)")
        continue
      }
    }
  }
}
