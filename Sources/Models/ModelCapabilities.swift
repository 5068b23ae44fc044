/// What a model can do besides answering text, as its header tells.
public struct ModelCapabilities: Sendable, Hashable {
  /// The tokens between which a model fills in the middle: before the prefix, before the suffix, before the middle.
  public struct Infill: Sendable, Hashable {
    public let prefix: UInt64
    public let suffix: UInt64
    public let middle: UInt64

    public init(prefix: UInt64, suffix: UInt64, middle: UInt64) {
      self.prefix = prefix
      self.suffix = suffix
      self.middle = middle
    }
  }

  /// Nil: the model can't write between a prefix and a suffix.
  public let infill: Infill?
  /// The chat template lets the model think first, and tells its thoughts apart.
  public let thinks: Bool
  /// The chat template has a place for tools. Others are told of them in the engine's own form.
  public let knowsTools: Bool
  /// The model was made for embeddings.
  public let isForEmbedding: Bool

  public init(infill: Infill?, thinks: Bool, knowsTools: Bool, isForEmbedding: Bool = false) {
    self.infill = infill
    self.thinks = thinks
    self.knowsTools = knowsTools
    self.isForEmbedding = isForEmbedding
  }

  public init(_ header: GGUFHeader) {
    func token(_ names: String...) -> UInt64? {
      names.lazy.compactMap { header.metadata["tokenizer.ggml.\($0)_token_id"]?.unsigned }.first
    }
    if let prefix = token("fim_pre", "prefix"), let suffix = token("fim_suf", "suffix"),
      let middle = token("fim_mid", "middle")
    {
      infill = Infill(prefix: prefix, suffix: suffix, middle: middle)
    } else {
      infill = nil
    }
    let template = header.chatTemplate ?? ""
    thinks = template.contains("enable_thinking") || template.contains("reasoning_content")
    knowsTools = template.contains("tools")
    isForEmbedding = header.number("pooling_type") != nil
  }

  /// Their names in Ollama's API.
  public var names: [String] {
    var names = isForEmbedding ? ["embedding"] : ["completion"]
    if knowsTools { names.append("tools") }
    if infill != nil { names.append("insert") }
    if thinks { names.append("thinking") }
    return names
  }
}

extension GGUFHeader {
  /// The Jinja template by which a conversation becomes a prompt; nil when the file has none.
  public var chatTemplate: String? { metadata["tokenizer.chat_template"]?.string }

  /// How the weights are stored, by llama.cpp's names (`general.file_type`, `enum llama_ftype`): `Q4_K_M`; nil when the
  /// file does not say.
  public var quantization: String? { metadata["general.file_type"]?.unsigned.flatMap { GGUFHeader.fileTypes[$0] } }

  private static let fileTypes: [UInt64: String] = [
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
  ]

  /// The number of weights as people say it: `134.52M`, `1.5B`.
  public var parameterSize: String {
    func text(_ unit: Double, _ digits: Int, _ name: String) -> String {
      let scale = digits == 2 ? 100.0 : 10.0
      let rounded = Int64((Double(parameterCount) / unit * scale).rounded())
      let fraction = rounded % Int64(scale)
      let whole = "\(rounded / Int64(scale))"
      guard fraction != 0 else { return whole + name }
      let padded = String(fraction)
      return whole + "." + String(repeating: "0", count: digits - padded.count) + padded + name
    }
    switch parameterCount {
    case 1_000_000_000...: return text(1e9, 1, "B")
    case 1_000_000...: return text(1e6, 2, "M")
    case 1000...: return "\(parameterCount / 1000)K"
    default: return "\(parameterCount)"
    }
  }
}
