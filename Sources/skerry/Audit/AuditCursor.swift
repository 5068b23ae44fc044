import CommandLine
import Fleet
import Glibc
import Trust

/// How far an export went: the log's head then. The next one begins there, and the log must still contain it.
struct AuditCursor: Equatable {
  let origin: String
  let size: UInt64
  let root: Digest

  var json: JSONValue {
    ["origin": .string(origin), "size": .integer(Int64(clamping: size)), "root": .string(root.hex)]
  }

  init(_ checkpoint: Checkpoint) {
    (origin, size, root) = (checkpoint.origin, checkpoint.size, checkpoint.root)
  }

  init?(_ json: JSONValue) {
    guard let origin = json["origin"]?.string, let size = json["size"]?.integer.flatMap({ UInt64(exactly: $0) }),
      let root = json["root"]?.string.flatMap({ Digest(hex: $0) })
    else { return nil }
    (self.origin, self.size, self.root) = (origin, size, root)
  }

  /// The file that `--cursor` names.
  struct File {
    let path: String
    /// What it says; nil when there is no such file yet.
    let last: AuditCursor?

    /// Nil without the option. Throws when the file is there and is none of ours.
    init?(_ invocation: Invocation) throws {
      guard let path = invocation.command.option("cursor") else { return nil }
      guard invocation.command.option("from") == nil else {
        throw CommandFailure("--cursor and --from exclude each other", status: .usage)
      }
      self.path = path
      guard access(path, F_OK) == 0 else {
        last = nil
        return
      }
      guard let json = try? JSONValue(parsing: readFile(path, limit: 1 << 16)), let cursor = AuditCursor(json) else {
        throw CommandFailure(
          "\(path) is no cursor of an export", hint: "move it away to export from the beginning", status: .data)
      }
      last = cursor
    }

    func write(_ cursor: AuditCursor) throws { try OutputFile.write(cursor.json.encodedPretty(), to: path) }
  }

  /// Looks at an export as it passes: that it continues what was exported before, and that it is the log of its head.
  struct Watch {
    private let last: AuditCursor?
    private let isStrict: Bool
    private var tree = MerkleFrontier()
    private var isChecked: Bool
    private(set) var head: AuditCursor?
    private(set) var records = 0

    /// Without a cursor nothing is looked at: whatever is wrong with the log is written down as it comes.
    init(_ cursor: File?) {
      last = cursor?.last
      isStrict = cursor != nil
      isChecked = last == nil
    }

    mutating func see(_ item: AuditExportReader.Item) throws {
      switch item {
      case .header(let header):
        let checkpoint = try Checkpoint(noteText: header.checkpoint.text)
        if isStrict, header.device.name != checkpoint.origin || !header.checkpoint.verified(by: header.device) {
          throw Self.other("its head is not signed by the box")
        }
        if let last {
          guard checkpoint.origin == last.origin else { throw Self.other("it is another log: \(checkpoint.origin)") }
          guard checkpoint.size >= last.size else {
            throw Self.other("it has \(checkpoint.size) entries, and had \(last.size): entries were cut off")
          }
        }
        head = AuditCursor(checkpoint)
      case .gap(let gap):
        if isStrict {
          guard gap.range.lowerBound == tree.size,
            zip(gap.roots, Merkle.subtreeLevels(gap.range)).allSatisfy({ tree.append(subtree: $0, level: $1) })
          else { throw Self.other("its proof is malformed") }
        }
      case .entry(let index, let record, _):
        records += 1
        if isStrict {
          // Before the entries that are new comes the run of those that were exported.
          guard isChecked, index == tree.size else { throw Self.other("its proof is malformed") }
          tree.count(Merkle.leafHash(record))
        }
      }
      if let last, !isChecked, head != nil {
        guard tree.size >= last.size else { return }
        guard tree.size == last.size else {
          throw Self.other("entries from \(last.size) on were pruned before they were exported")
        }
        guard tree.root == last.root else {
          throw Self.other("entries before \(last.size) are not those that were exported")
        }
        isChecked = true
      }
    }

    /// The export has come to its end. Throws when it is not all of the log that its head is over.
    func finish() throws {
      guard isStrict, let head else { return }
      guard isChecked, tree.size == head.size, tree.root == head.root else {
        throw Self.other("its entries do not make the tree of the head that it ends with")
      }
    }

    private static func other(_ reason: String) -> CommandFailure {
      CommandFailure(
        "this log does not continue what was exported before: \(reason)",
        hint: "keep the cursor and the old export, they are evidence; compare with the head that the hub cosigned",
        status: .data)
    }
  }
}
