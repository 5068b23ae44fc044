import Access
import Models
import Trust

extension ModelRegistry {
  /// Whether a signed model has this name, whatever its version and state.
  func isInstalled(_ name: String) -> Bool { models.contains { !$0.isRetired && $0.name.description == name } }

  /// The variant, unless a signed model has come that bears its name: what the fleet gives goes first.
  func unshadowed(_ stored: StoredVariant?) -> ModelVariant? {
    guard let variant = stored?.variant, !isInstalled(ModelVariant.untagged(variant.name)) else { return nil }
    return variant
  }
}

extension LocalAPI {
  /// A variant, and the installed model that it is made from.
  struct VisibleVariant: Sendable {
    let stored: StoredVariant
    let base: InstalledModel
    var variant: ModelVariant { stored.variant }
  }

  /// The variants that the caller may list, whose model is on the box.
  func visibleVariants(_ caller: Caller) async -> [VisibleVariant] {
    var visible: [VisibleVariant] = []
    for stored in variants.all where await registry.unshadowed(stored) != nil {
      let names = [stored.name, stored.variant.base].map(ModelVariant.untagged)
      guard names.allSatisfy({ access.allows(caller, .modelList, .model($0)) }),
        let base = try? await find(stored.variant.base)
      else { continue }
      visible.append(VisibleVariant(stored: stored, base: base))
    }
    return visible
  }

  /// One variant by its name; nil when there is none that the caller may list. The decision on the name itself is made and
  /// on record already.
  func visibleVariant(_ caller: Caller, _ name: String) async throws -> VisibleVariant? {
    guard let stored = variants.find(name), await registry.unshadowed(stored) != nil else { return nil }
    try await access.authorize(caller, .modelList, .model(ModelVariant.untagged(stored.variant.base)))
    do { return VisibleVariant(stored: stored, base: try await find(stored.variant.base)) } catch is APIFailure {
      throw APIFailure.baseMissing(stored.variant)
    }
  }
}

extension APIFailure {
  static func baseMissing(_ variant: ModelVariant) -> APIFailure {
    APIFailure(
      status: 404, code: "model_not_found",
      message: "\(variant.name) is made from \(variant.base), which is not on this box", hint: "skerry sync")
  }
}
