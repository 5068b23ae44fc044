/// What an engine will about need to serve a model, in bytes: the weights, the attention cache, and its buffers.
///
/// - Parameters:
///   - header: the model's header.
///   - contextTokens: tokens that all slots share; 0 means the model's own context length.
///   - slots: requests served at once.
public func memoryEstimate(header: GGUFHeader, contextTokens: UInt64, slots: Int) -> UInt64 {
  let tokens = Double(contextTokens == 0 ? max(header.contextLength, 2048) : contextTokens)
  let layers = Double(header.number("block_count") ?? 32)
  let embedding = Double(header.number("embedding_length") ?? 4096)
  let headCount = max(header.number("attention.head_count") ?? 32, 1)
  let heads = Double(headCount)
  // An architecture may give a number of key-value heads a layer; then all heads are counted.
  let cacheHeads = Double(header.number("attention.head_count_kv") ?? headCount)
  let keyLength = header.number("attention.key_length").map(Double.init) ?? embedding / heads
  let valueLength = header.number("attention.value_length").map(Double.init) ?? embedding / heads
  let vocabulary: Double =
    if case .array(_, let count)? = header.metadata["tokenizer.ggml.tokens"] { Double(count) } else { 32_000 }

  let cache = tokens * layers * cacheHeads * (keyLength + valueLength) * 2  // 16-bit floats
  let batch = 512.0
  let compute = batch * (vocabulary + 8 * embedding) * 4
  let outputs = Double(max(slots, 1)) * vocabulary * 4
  let fixed = 32.0 * 1024 * 1024
  let total = Double(header.dataEnd) + cache + compute + outputs + fixed
  return total < Double(UInt64.max / 2) ? UInt64(total) : UInt64.max
}
