import Glibc
import Models
import Trust

/// Which chunks of a download are here, a byte for each, in `partial/HEX.claims`: a download of gigabytes goes on without
/// being read again. It is a claim, no proof: the whole file's digest decides at the end, and a false claim is found then
/// and costs that chunk.
///
/// A claim is written after its chunk. A kill loses neither, a power cut may lose the chunk alone: the claims hold for
/// the boot that they were made in.
final class PartialClaims: Sendable {
  private static let headerLength = 160
  private static let claimed: UInt8 = 1

  private let file: OpenFile

  /// Opens the claims of a download; nil in `claims` when there are none that hold, and then all start at no.
  static func open(
    _ path: String, index: ChunkIndex
  ) throws(StorageError) -> (file: PartialClaims, claims: [Bool]?) {
    let header = try header(index)
    let file = try OpenFile(path, O_RDWR | O_CREAT)
    let length = headerLength + index.count
    if try file.size() == UInt64(length) {
      let bytes = try file.read(at: 0, count: length)
      if Array(bytes.prefix(headerLength)) == header {
        return (PartialClaims(file), bytes.dropFirst(headerLength).map { $0 == claimed })
      }
    }
    // The old claims are gone before a new header could vouch for them.
    try file.truncate(to: 0)
    try file.write(header + [UInt8](repeating: 0, count: index.count), at: 0)
    return (PartialClaims(file), nil)
  }

  private init(_ file: OpenFile) { self.file = file }

  /// A chunk is here (or not).
  func set(_ number: Int, _ isHere: Bool = true) throws(StorageError) {
    try file.write([isHere ? PartialClaims.claimed : 0], at: UInt64(PartialClaims.headerLength + number))
  }

  /// All at once.
  func set(_ claims: [Bool]) throws(StorageError) {
    try file.write(claims.map { $0 ? PartialClaims.claimed : 0 }, at: UInt64(PartialClaims.headerLength))
  }

  private static func header(_ index: ChunkIndex) throws(StorageError) -> [UInt8] {
    let boot = try DurableFile.read("/proc/sys/kernel/random/boot_id", limit: 128) ?? []
    let text = "skerry claims 1\n\(Digest(of: index.caibx).hex)\n"
    let bytes = Array(text.utf8) + boot.prefix(64)
    return bytes + [UInt8](repeating: 0x0A, count: headerLength - bytes.count)
  }
}
