/// Makes GGUF files by hand, right and wrong.
struct GGUFBuilder {
  struct Tensor {
    var name: String
    var dimensions: [UInt64]
    var type: UInt32 = 0
    var offset: UInt64
  }

  var magic = Array("GGUF".utf8)
  var version: UInt32 = 3
  var tensorCount: UInt64?
  var metadataCount: UInt64?
  var metadata: [(key: String, value: [UInt8])] = [
    ("general.architecture", text("llama")),
    ("llama.context_length", [4, 0, 0, 0] + le(UInt32(8192))),
    ("tokenizer.ggml.tokens", [9, 0, 0, 0, 8, 0, 0, 0] + le(UInt64(2)) + string("a") + string("bc")),
  ]
  var tensors: [Tensor] = [
    Tensor(name: "a", dimensions: [3, 2], offset: 0),
    Tensor(name: "b", dimensions: [64], type: 3, offset: 32),
  ]
  /// Bytes of tensor data.
  var data = 72

  var header: [UInt8] {
    var bytes = magic + le(version) + le(tensorCount ?? UInt64(tensors.count))
    bytes += le(metadataCount ?? UInt64(metadata.count))
    for entry in metadata { bytes += string(entry.key) + entry.value }
    for tensor in tensors {
      bytes += string(tensor.name) + le(UInt32(tensor.dimensions.count))
      for dimension in tensor.dimensions { bytes += le(dimension) }
      bytes += le(tensor.type) + le(tensor.offset)
    }
    return bytes
  }

  var bytes: [UInt8] {
    let header = self.header
    let padding = (32 - header.count % 32) % 32
    return header + [UInt8](repeating: 0, count: padding + data)
  }
}

func le<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}
func string(_ text: String) -> [UInt8] { le(UInt64(text.utf8.count)) + Array(text.utf8) }
/// A metadata value of type string.
func text(_ value: String) -> [UInt8] { [8, 0, 0, 0] + string(value) }
