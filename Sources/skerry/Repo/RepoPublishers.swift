import CommandLine
import FoundationEssentials
import Storage
import Trust

/// Whose own signature a repository asks for: `publishers.json5` in its folder. It holds public keys and certificates
/// only and is not published. It lies with the repository and not with the keys, because it belongs to adding models,
/// which may happen where no key is; whoever signs the list sees the signer in it.
struct RepoPublishers {
  struct Publisher {
    let name: String
    /// Any one of these is enough: several while a publisher goes over to another key.
    var keys: [ECPublicKey] = []
    var roots: [Certificate] = []
    var identity: String?

    var trusts: [ModelTrust] {
      keys.map { .key($0) } + (roots.isEmpty ? [] : [.certificates(roots: roots, identity: identity)])
    }
  }

  private let path: String
  private(set) var all: [Publisher]

  /// Reads the folder's file; none is the same as an empty one. Throws `CommandFailure` that names what is wrong in it.
  init(_ folder: RepoFolder) throws {
    path = folder.path + "/publishers.json5"
    all = []
    guard let bytes = try DurableFile.read(path) else { return }
    do {
      all = try JSONField(JSONValue(parsing: bytes, json5: true)).object().map { try Self.publisher($0, $1) }
        .sorted { $0.name < $1.name }
    } catch let error as CommandFailure {
      throw error
    } catch {
      throw CommandFailure("\(path): \(error)", status: .configuration)
    }
  }

  private static func publisher(_ name: String, _ field: JSONField) throws -> Publisher {
    let members = try field.members(["publicKeys", "certificates", "identity"])
    func texts(_ key: String) throws -> [String] {
      try members[key]?.array(of: "PEM texts").map { try $0.string() } ?? []
    }
    var publisher = Publisher(name: name)
    publisher.keys = try texts("publicKeys").map { try ECPublicKey(pem: Array($0.utf8)) }
    publisher.roots = try texts("certificates").flatMap { try Certificate.all(pem: Array($0.utf8)) }
    publisher.identity = try members["identity"]?.string()
    guard !publisher.trusts.isEmpty else {
      throw field.wrong("there is neither a key nor a certificate", allowed: "publicKeys or certificates")
    }
    return publisher
  }

  /// The publisher of this name. Another spelling of a known name is refused: it would be a way round the requirement.
  func find(_ name: String) throws -> Publisher? {
    func folded(_ text: String) -> String { text.lowercased().filter { !$0.isWhitespace } }
    guard let found = all.first(where: { folded($0.name) == folded(name) }) else { return nil }
    guard found.name == name else {
      throw CommandFailure(
        "the publisher “\(name)” is known here as “\(found.name)”", hint: "spell it so", status: .data)
    }
    return found
  }

  mutating func add(_ publisher: Publisher) throws {
    guard try find(publisher.name) == nil else {
      throw CommandFailure(
        "the publisher “\(publisher.name)” is known already",
        hint: "remove it first, or edit \(path) to have two keys for a while", status: .data)
    }
    all = (all + [publisher]).sorted { $0.name < $1.name }
    try save()
  }

  mutating func remove(_ name: String) throws {
    guard try find(name) != nil else {
      throw CommandFailure("the publisher “\(name)” is not known here", status: .noInput)
    }
    all.removeAll { $0.name == name }
    try save()
  }

  private func save() throws {
    let members = all.map { publisher -> (String, JSONValue) in
      var fields: [String: JSONValue] = [:]
      if !publisher.keys.isEmpty {
        fields["publicKeys"] = .array(publisher.keys.map { .string(String(decoding: $0.pem, as: UTF8.self)) })
      }
      if !publisher.roots.isEmpty { fields["certificates"] = .array(publisher.roots.map { .string($0.pem) }) }
      fields["identity"] = publisher.identity.map { .string($0) }
      return (publisher.name, .object(fields))
    }
    let header = "// Whose own signature 'skerry repo add --publisher NAME' asks for.\n"
    let body = JSONValue.object(Dictionary(members, uniquingKeysWith: { first, _ in first })).encodedPretty()
    try DurableFile.replace(path, with: Array(header.utf8) + body, mode: 0o644)
  }
}
