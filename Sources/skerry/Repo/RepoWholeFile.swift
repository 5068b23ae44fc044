import CommandLine
import Models
import Storage
import Trust
import Web

/// A model's file that is published as a whole, as TUF's consistent snapshots name it: `targets/…/DIGEST.FILE`.
enum RepoWholeFile {
  /// Copies the file into a repository's folder; it is there whole, with the signed digest, or not at all.
  static func copy(
    _ manifest: ModelManifest, from path: String, to folder: RepoFolder, _ progress: ProgressBar
  ) throws {
    let target = folder.file(manifest)
    if DurableFile.size(target) == manifest.length, try FileDigest.of(target) == manifest.sha256 { return }
    let copied = try FileCopy.make(path, to: target) {
      progress.update("copying \(manifest.label)", done: $0, total: $1)
    } accept: {
      $0 == manifest.sha256
    }
    progress.finish()
    guard copied else { throw wrong(manifest, "its file \(path) does not have the signed digest") }
  }

  /// Reads the file in pieces and checks length and digest.
  static func verify(_ manifest: ModelManifest, _ source: RepoSource, _ progress: ProgressBar) async throws {
    var hasher = SHA256()
    var length: UInt64 = 0
    let isThere = try await source.stream("targets/" + manifest.filePath) { piece in
      length += UInt64(piece.count)
      guard length <= manifest.length else { throw wrong(manifest, "its file is longer than the signed length") }
      hasher.update(piece)
      progress.update("checking \(manifest.label)", done: length, total: manifest.length)
    }
    guard isThere else { throw wrong(manifest, "its file targets/\(manifest.filePath) is missing") }
    guard length == manifest.length, hasher.finalize() == manifest.sha256 else {
      throw wrong(manifest, "its file does not have the signed length and digest")
    }
  }

  /// Sends the file to a hub in pieces, from where an earlier try stopped.
  static func upload(
    _ manifest: ModelManifest, from path: String, to api: API, _ progress: ProgressBar
  ) async throws {
    let file = try InputFile(path)
    let place = "/admin/v1/repo/targets/" + URLPath.encoded(manifest.filePath)
    var answer = try await api.putPiece(place, [], range: "bytes */\(file.size)")
    while answer["complete"]?.bool != true {
      guard let have = answer["have"]?.integer.flatMap({ UInt64(exactly: $0) }), have < file.size else {
        throw CommandFailure("the hub's answer does not say how much of the file it has", status: .hubUnavailable)
      }
      let piece = try file.read(have, Int(min(pieceLength, file.size - have)))
      answer = try await api.putPiece(
        place, piece, range: "bytes \(have)-\(have + UInt64(piece.count) - 1)/\(file.size)")
      progress.update(
        "sending \(manifest.label)", done: min(have + UInt64(piece.count), file.size), total: file.size)
    }
  }

  /// Bytes sent at a time.
  private static let pieceLength: UInt64 = 8 << 20

  private static func wrong(_ manifest: ModelManifest, _ what: String) -> CommandFailure {
    CommandFailure("\(manifest.label): \(what)", hint: "add the model again", status: .data)
  }
}
