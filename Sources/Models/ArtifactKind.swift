/// What a signed file is to an engine.
public enum ArtifactKind: String, Sendable, Hashable, CaseIterable, Codable {
  /// Weights that answer by themselves.
  case model
  /// A LoRA adapter: a change to the weights of one base model, and nothing without it.
  case adapter
}

extension GGUFHeader {
  /// What the file says that it is; `general.type` is absent from the models of older converters.
  ///
  /// Throws `GGUFError` for what is neither a model nor a LoRA adapter, such as a vocabulary or a projector.
  public func kind() throws(GGUFError) -> ArtifactKind {
    let type = metadata["general.type"]
    switch type?.string ?? (type == nil ? "model" : "") {
    case "model": return .model
    case "adapter":
      guard metadata["adapter.type"]?.string == "lora" else {
        throw .malformed("it is an adapter, and its adapter.type is not \"lora\"")
      }
      return .adapter
    default: throw .malformed("its general.type is neither \"model\" nor \"adapter\"")
    }
  }

  /// The file is of the kind and for the architecture that was signed. Throws `GGUFError`.
  public func demand(_ wanted: ArtifactKind, architecture wantedArchitecture: String) throws(GGUFError) {
    let found = try kind()
    guard found == wanted else {
      throw .malformed("it is of the kind \(found.rawValue), and signed as \(wanted.rawValue)")
    }
    guard architecture == wantedArchitecture else {
      throw .malformed("its general.architecture is not the signed one")
    }
  }
}
