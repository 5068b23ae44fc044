import Trust

/// Takes an export apart as it arrives, for who hands it on in another form. Nothing is verified.
public struct AuditExportReader: Sendable {
  public enum Item: Sendable {
    case header(AuditExportHeader)
    /// `hash` is the leaf's as the export states it, in base64.
    case entry(index: UInt64, record: [UInt8], hash: [UInt8])
    case gap(AuditExportGap)
  }

  private var line: [UInt8] = []
  private var isHeader = true

  public init() {}

  /// The items that are complete with this piece. Throws `AuditExportError`.
  public mutating func push(_ bytes: [UInt8]) throws(AuditExportError) -> [Item] {
    var items: [Item] = []
    var rest = bytes[...]
    while let end = rest.firstIndex(of: 0x0A) {
      line += rest[..<end]
      rest = rest[(end + 1)...]
      items.append(try item())
      line.removeAll(keepingCapacity: true)
    }
    line += rest
    guard line.count <= AuditVerifier.maximumLineLength else { throw AuditExportError("a line is too long") }
    return items
  }

  /// Throws when the export ends within a line.
  public func finish() throws(AuditExportError) {
    guard line.isEmpty, !isHeader else { throw AuditExportError("the export is cut off") }
  }

  private mutating func item() throws(AuditExportError) -> Item {
    if isHeader {
      isHeader = false
      return .header(try AuditExportHeader(line: line))
    }
    guard line.starts(with: AuditExportEntry.start) else { return .gap(try AuditExportGap(line: line)) }
    let parts: Result<Item, AuditExportError> = line.withUnsafeBytes { bytes in
      do throws(AuditExportError) {
        let parts = try EntryParts(bytes)
        return .success(.entry(index: parts.index, record: Array(parts.record), hash: Array(parts.hash)))
      } catch { return .failure(error) }
    }
    return try parts.get()
  }
}
