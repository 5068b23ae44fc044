/// The header of a GGUF file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
///
/// Parsing reads the header alone, in bounded memory, and proves that every tensor lies inside the file, so that a cut,
/// absurd or foreign file is refused before any engine sees it.
public struct GGUFHeader: Sendable {
  /// 2 or 3.
  public let version: UInt32
  public let tensorCount: UInt64
  public let metadata: [String: GGUFValue]
  /// The elements of short arrays of whole numbers and truth values, such as the heads of each layer.
  public let integerArrays: [String: [UInt64]]
  /// Bytes of the matrices in the model's blocks, by ggml's number of their type.
  public let blockMatrixBytes: [UInt32: UInt64]
  /// The files of a folder that travels in this one (`skerry.folder`); empty for weights of llama.cpp's.
  public let files: [FolderFile]
  /// The number of weights, summed over all tensors.
  public let parameterCount: UInt64
  /// Where the tensors' data begins, in bytes.
  public let dataStart: UInt64
  /// The size that the file must at least have, in bytes.
  public let dataEnd: UInt64

  /// What no real model exceeds.
  public enum Limit {
    public static let tensors: UInt64 = 65_536
    public static let metadata: UInt64 = 65_536
    public static let keyLength: UInt64 = 65_535
    public static let stringLength: UInt64 = 1 << 20
    public static let arrayElements: UInt64 = 1 << 24
    /// Longer arrays are walked and not kept.
    public static let keptElements: UInt64 = 1024
    public static let tensorName: UInt64 = 256
    public static let dimensions: UInt64 = 4
    public static let alignment: UInt64 = 1 << 20
    /// All of the header.
    public static let headerBytes: UInt64 = 256 << 20
  }

  /// `general.architecture`, for example `llama`; empty when the file does not say.
  public var architecture: String { metadata["general.architecture"]?.string ?? "" }
  /// `general.name`.
  public var name: String? { metadata["general.name"]?.string }
  /// The context that the model was trained for, in tokens; 0 when the file does not say.
  public var contextLength: UInt64 { number("context_length") ?? 0 }

  /// A whole number under the architecture's own prefix, for example `llama.block_count`.
  public func number(_ key: String) -> UInt64? { metadata["\(architecture).\(key)"]?.unsigned }
  /// Whole numbers under the architecture's own prefix, one for each layer; nil when it is no short array.
  public func numbers(_ key: String) -> [UInt64]? { integerArrays["\(architecture).\(key)"] }

  /// Parses the header. `read` gives `count` bytes at `offset` and may return fewer only at the file's end; what it
  /// throws is passed on. Throws `GGUFError` when the file is not one that an engine may be given.
  public static func parse(
    fileSize: UInt64, read: (_ offset: UInt64, _ count: Int) throws -> [UInt8]
  ) throws -> GGUFHeader {
    try withoutActuallyEscaping(read) { read in
      var parser = GGUFParser(cursor: GGUFCursor(fileSize: fileSize, read: read))
      return try parser.parse()
    }
  }

  /// Parses a file that is held in memory.
  public static func parse(bytes: [UInt8]) throws -> GGUFHeader {
    try parse(fileSize: UInt64(bytes.count)) { offset, count in
      Array(bytes.dropFirst(Int(offset)).prefix(count))
    }
  }
}

private struct GGUFParser {
  typealias Limit = GGUFHeader.Limit
  var cursor: GGUFCursor
  private var kept: [UInt64]?

  init(cursor: GGUFCursor) { self.cursor = cursor }

  mutating func parse() throws -> GGUFHeader {
    guard cursor.fileSize >= 4, try Array(cursor.bytes(4)) == Array("GGUF".utf8) else { throw GGUFError.notGGUF }
    let version = try cursor.uint32()
    guard version == 2 || version == 3 else { throw GGUFError.unsupportedVersion(version) }
    let tensorCount = try count("number of tensors", limit: Limit.tensors)
    let metadataCount = try count("number of metadata entries", limit: Limit.metadata)

    var metadata: [String: GGUFValue] = [:]
    var arrays: [String: [UInt64]] = [:]
    for _ in 0..<metadataCount {
      let key = try cursor.string("a metadata key", limit: Limit.keyLength)
      guard metadata[key] == nil else { throw GGUFError.malformed("the metadata key \(key) appears twice") }
      let type = try cursor.uint32()
      kept = nil
      metadata[key] = try value(type: type, depth: 0)
      arrays[key] = kept
      try checkHeaderSize()
    }

    let alignment = metadata["general.alignment"].map(\.unsigned) ?? 32
    guard let alignment, alignment > 0, alignment <= Limit.alignment, alignment & (alignment - 1) == 0 else {
      throw GGUFError.malformed("general.alignment is no power of two")
    }

    var names: Set<String> = []
    var parameters: UInt64 = 0
    var matrices: [UInt32: UInt64] = [:]
    var files: [FolderFile] = []
    let isFolder = metadata[FolderFile.key] != nil
    var next: UInt64 = 0  // where the next tensor must begin, after dataStart
    var end: UInt64 = 0  // where the last byte of tensor data ends, after dataStart
    for _ in 0..<tensorCount {
      let tensor = try self.tensor()
      guard names.insert(tensor.name).inserted else {
        throw GGUFError.malformed("the tensor \(tensor.name) appears twice")
      }
      // The engine takes tensors only one behind the other, each at the next aligned place.
      guard tensor.offset == next else {
        throw GGUFError.malformed("the tensor \(tensor.name) begins at \(tensor.offset) instead of \(next)")
      }
      end = try sum(tensor.offset, tensor.bytes, "tensor's extent")
      next = try aligned(end, to: alignment)
      parameters = try sum(parameters, tensor.elements, "number of parameters")
      if isFolder { files.append(try FolderFile(tensor.name, at: tensor.offset, tensor.bytes, type: tensor.type)) }
      if tensor.isMatrix, tensor.name.hasPrefix("blk.") {
        matrices[tensor.type] = try sum(matrices[tensor.type] ?? 0, tensor.bytes, "size")
      }
      try checkHeaderSize()
    }

    let dataStart = try aligned(cursor.offset, to: alignment)
    let dataEnd = try sum(dataStart, end, "size")
    guard dataEnd <= cursor.fileSize else { throw GGUFError.truncated(needed: dataEnd, have: cursor.fileSize) }
    return GGUFHeader(
      version: version, tensorCount: tensorCount, metadata: metadata, integerArrays: arrays,
      blockMatrixBytes: matrices, files: files.map { $0.moved(by: dataStart) }, parameterCount: parameters,
      dataStart: dataStart, dataEnd: dataEnd)
  }

  // MARK: metadata

  private mutating func count(_ what: String, limit: UInt64) throws -> UInt64 {
    let value = try cursor.uint64()
    guard value <= limit else { throw GGUFError.absurd(what: what, value: value, limit: limit) }
    return value
  }

  private mutating func value(type: UInt32, depth: Int) throws -> GGUFValue {
    switch type {
    case 0: return .unsigned(try cursor.integer(1))
    case 1: return .signed(Int64(Int8(truncatingIfNeeded: try cursor.integer(1))))
    case 2: return .unsigned(try cursor.integer(2))
    case 3: return .signed(Int64(Int16(truncatingIfNeeded: try cursor.integer(2))))
    case 4: return .unsigned(try cursor.integer(4))
    case 5: return .signed(Int64(Int32(truncatingIfNeeded: try cursor.integer(4))))
    case 6: return .double(Double(Float(bitPattern: try cursor.uint32())))
    case 7:
      let byte = try cursor.integer(1)
      guard byte <= 1 else { throw GGUFError.malformed("a truth value is \(byte)") }
      return .bool(byte == 1)
    case 8: return .string(try cursor.string("a metadata string", limit: Limit.stringLength))
    case 9: return try array(depth: depth)
    case 10: return .unsigned(try cursor.uint64())
    case 11: return .signed(Int64(bitPattern: try cursor.uint64()))
    case 12: return .double(Double(bitPattern: try cursor.uint64()))
    default: throw GGUFError.malformed("\(type) is no metadata type")
    }
  }

  private static let widths: [UInt32: UInt64] = [
    0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8,
  ]

  private static let integers: Set<UInt32> = [0, 1, 2, 3, 4, 5, 7, 10, 11]

  /// Walks an array; only a short one of whole numbers is kept.
  private mutating func array(depth: Int) throws -> GGUFValue {
    guard depth < 3 else { throw GGUFError.malformed("arrays are nested too deeply") }
    let type = try cursor.uint32()
    let count = try self.count("number of array elements", limit: Limit.arrayElements)
    if let width = GGUFParser.widths[type] {
      if depth == 0, count <= Limit.keptElements, GGUFParser.integers.contains(type) {
        try cursor.require(count * width)
        var elements: [UInt64] = []
        for _ in 0..<count { elements.append(try cursor.integer(Int(width))) }
        kept = elements
      } else {
        try cursor.skip(count * width)
      }
    } else if type == 8 {
      for _ in 0..<count {
        let length = try cursor.uint64()
        guard length <= Limit.stringLength else {
          throw GGUFError.absurd(what: "length of a string in an array", value: length, limit: Limit.stringLength)
        }
        try cursor.skip(length)
      }
    } else if type == 9 {
      for _ in 0..<count {
        _ = try array(depth: depth + 1)
        try checkHeaderSize()
      }
    } else {
      throw GGUFError.malformed("\(type) is no metadata type")
    }
    return .array(elementType: type, count: count)
  }

  // MARK: tensors

  private struct Tensor {
    let name: String
    let type: UInt32
    let elements: UInt64
    let bytes: UInt64
    let offset: UInt64
    let isMatrix: Bool
  }

  private mutating func tensor() throws -> Tensor {
    let name = try cursor.string("a tensor's name", limit: Limit.tensorName)
    let dimensions = UInt64(try cursor.uint32())
    guard dimensions <= Limit.dimensions else {
      throw GGUFError.absurd(what: "number of dimensions", value: dimensions, limit: Limit.dimensions)
    }
    var elements: UInt64 = 1
    var row: UInt64 = 1
    for dimension in 0..<dimensions {
      let extent = try cursor.uint64()
      guard extent <= UInt64(Int64.max) else { throw GGUFError.overflow(what: "tensor's extent") }
      if dimension == 0 { row = extent }
      elements = try product(elements, extent, "tensor's extent")
    }
    let typeNumber = try cursor.uint32()
    guard let type = TensorType.all[typeNumber] else {
      throw GGUFError.malformed("the tensor \(name) has the unknown type \(typeNumber)")
    }
    guard row.isMultiple(of: type.block) else {
      throw GGUFError.malformed("the rows of the tensor \(name) are no multiple of its type's block of \(type.block)")
    }
    let bytes = try product(elements / type.block, type.bytes, "tensor's extent")
    return Tensor(
      name: name, type: typeNumber, elements: elements, bytes: bytes, offset: try cursor.uint64(),
      isMatrix: dimensions > 1)
  }

  private func checkHeaderSize() throws {
    guard cursor.offset <= Limit.headerBytes else {
      throw GGUFError.absurd(what: "header length", value: cursor.offset, limit: Limit.headerBytes)
    }
  }

  private func sum(_ left: UInt64, _ right: UInt64, _ what: String) throws -> UInt64 {
    let (value, overflow) = left.addingReportingOverflow(right)
    if overflow { throw GGUFError.overflow(what: what) }
    return value
  }

  private func product(_ left: UInt64, _ right: UInt64, _ what: String) throws -> UInt64 {
    let (value, overflow) = left.multipliedReportingOverflow(by: right)
    if overflow { throw GGUFError.overflow(what: what) }
    return value
  }

  private func aligned(_ value: UInt64, to alignment: UInt64) throws -> UInt64 {
    try sum(value, alignment - 1, "size") & ~(alignment - 1)
  }
}

/// How many bytes a block of how many weights takes, by ggml's type numbers.
private struct TensorType {
  let block: UInt64
  let bytes: UInt64

  static let all: [UInt32: TensorType] = [
    0: .init(block: 1, bytes: 4),  // F32
    1: .init(block: 1, bytes: 2),  // F16
    2: .init(block: 32, bytes: 18),  // Q4_0
    3: .init(block: 32, bytes: 20),  // Q4_1
    6: .init(block: 32, bytes: 22),  // Q5_0
    7: .init(block: 32, bytes: 24),  // Q5_1
    8: .init(block: 32, bytes: 34),  // Q8_0
    9: .init(block: 32, bytes: 36),  // Q8_1
    10: .init(block: 256, bytes: 84),  // Q2_K
    11: .init(block: 256, bytes: 110),  // Q3_K
    12: .init(block: 256, bytes: 144),  // Q4_K
    13: .init(block: 256, bytes: 176),  // Q5_K
    14: .init(block: 256, bytes: 210),  // Q6_K
    15: .init(block: 256, bytes: 292),  // Q8_K
    16: .init(block: 256, bytes: 66),  // IQ2_XXS
    17: .init(block: 256, bytes: 74),  // IQ2_XS
    18: .init(block: 256, bytes: 98),  // IQ3_XXS
    19: .init(block: 256, bytes: 50),  // IQ1_S
    20: .init(block: 32, bytes: 18),  // IQ4_NL
    21: .init(block: 256, bytes: 110),  // IQ3_S
    22: .init(block: 256, bytes: 82),  // IQ2_S
    23: .init(block: 256, bytes: 136),  // IQ4_XS
    24: .init(block: 1, bytes: 1),  // I8
    25: .init(block: 1, bytes: 2),  // I16
    26: .init(block: 1, bytes: 4),  // I32
    27: .init(block: 1, bytes: 8),  // I64
    28: .init(block: 1, bytes: 8),  // F64
    29: .init(block: 256, bytes: 56),  // IQ1_M
    30: .init(block: 1, bytes: 2),  // BF16
    34: .init(block: 256, bytes: 54),  // TQ1_0
    35: .init(block: 256, bytes: 66),  // TQ2_0
    39: .init(block: 32, bytes: 17),  // MXFP4
  ]
}
