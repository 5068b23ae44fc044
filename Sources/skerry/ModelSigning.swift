import CommandLine
import FoundationEssentials
import Storage
import Trust

/// What `skerry model sign`, `model verify --signature` and `repo add --signature` share: options, keys, errors.
enum ModelSigning {
  static let ignorePaths = OptionSpec(
    "ignore-paths", value: "PATH", "a file or folder of the model that is not part of it; may be given several times",
    repeats: true, completion: .files)
  static let ignoreGit = OptionSpec("ignore-git-paths", "leave out .git, .gitattributes, .github, .gitignore (default)")
  static let keepGit = OptionSpec("no-ignore-git-paths", "take them in")
  static let publicKey = OptionSpec(
    "public-key", value: "FILE", "the signer's public key, PEM", completion: .files)
  static let certificateChain = OptionSpec(
    "certificate-chain", value: "FILE", "certificates, PEM; may be given several times", repeats: true,
    completion: .files)
  static let identity = OptionSpec(
    "identity", value: "NAME", "the common name, e-mail address, host name or URI that the certificate must have")

  /// The paths to leave out, as the options and the signature's own place say.
  static func ignored(_ command: ParsedCommand, in model: String, signature: String) throws -> [String] {
    guard !(command.flag("ignore-git-paths") && command.flag("no-ignore-git-paths")) else {
      throw UsageError(path: command.path, "--ignore-git-paths and --no-ignore-git-paths contradict each other")
    }
    var ignored = command.flag("no-ignore-git-paths") ? [] : ModelPath.git
    for path in command.options("ignore-paths") {
      let isAbsolute = path.hasPrefix("/")
      guard let inside = isAbsolute ? inside(path, model) : ModelPath.canonical(path) else {
        throw UsageError(
          path: command.path, "--ignore-paths \(path) is not inside the model",
          hint: "paths count from the model's folder")
      }
      guard !inside.utf8.contains(where: { [0x2A, 0x3F, 0x5B].contains($0) }) else {
        throw UsageError(
          path: command.path, "--ignore-paths takes a path, and \(path) looks like a pattern",
          hint: "name the folder, or each file")
      }
      if !ignored.contains(inside) { ignored.append(inside) }
    }
    if let inside = inside(signature, model), !ignored.contains(inside) { ignored.append(inside) }
    return ignored
  }

  /// The path as it counts from the model's folder; nil when it lies elsewhere. A link counts where it lies itself.
  private static func inside(_ path: String, _ model: String) -> String? {
    let root = realPath(model)
    let parts = path.split(separator: "/")
    guard let last = parts.last, last != "..", last != "." else { return nil }
    let folder = (path.hasPrefix("/") ? "/" : "") + parts.dropLast().joined(separator: "/")
    let whole = realPath(folder.isEmpty ? "." : folder) + "/" + last
    return whole.hasPrefix(root + "/") ? ModelPath.canonical(whole.dropFirst(root.utf8.count + 1)) : nil
  }

  /// Whose signature counts, from `--public-key` or `--certificate-chain`.
  static func trust(_ command: ParsedCommand) throws -> ModelTrust {
    let chain = command.options("certificate-chain")
    switch (command.option("public-key"), chain.isEmpty) {
    case (let path?, true):
      guard command.option("identity") == nil else {
        throw UsageError(path: command.path, "--identity needs --certificate-chain: a bare key names nobody")
      }
      return .key(try publicKey(path))
    case (nil, false): return .certificates(roots: try certificates(chain), identity: command.option("identity"))
    case (nil, true):
      throw UsageError(
        path: command.path, "who may have signed it?", hint: "give --public-key FILE or --certificate-chain FILE")
    case (_, false):
      throw UsageError(path: command.path, "--public-key and --certificate-chain are two ways; give one of them")
    }
  }

  static func publicKey(_ path: String) throws -> ECPublicKey {
    do { return try ECPublicKey(pem: file(path)) } catch let error as ECKeyError {
      throw CommandFailure("\(path): \(error)", status: .data)
    }
  }

  static func certificates(_ paths: [String]) throws -> [Certificate] {
    try paths.flatMap { path in
      do { return try Certificate.all(pem: file(path)) } catch let error as CertificateError {
        throw CommandFailure("\(path): \(error)", status: .data)
      }
    }
  }

  /// A small file that must be there.
  static func file(_ path: String, limit: Int = 1 << 20) throws -> [UInt8] {
    guard let bytes = try DurableFile.read(path, limit: limit) else {
      throw CommandFailure("there is no \(path)", status: .noInput)
    }
    return bytes
  }

  /// An error of the parts below as a person reads it, with the exit status that belongs to it.
  static func failure(_ error: any Error, _ place: String) -> any Error {
    switch error {
    case let error as ModelSignatureError: CommandFailure("\(place): \(error)", status: .data)
    case let error as CertificateError: CommandFailure("\(error)", status: .data)
    case let error as ModelTreeError: CommandFailure("\(error)", status: .data)
    case let error as StorageError:
      switch error {
      case .notFound: CommandFailure(error.description, status: .noInput)
      case .damaged, .wrongDigest, .tooLarge: CommandFailure(error.description, status: .data)
      case .denied: CommandFailure(error.description, status: .denied)
      default: CommandFailure(error.description, status: .io)
      }
    default: error
    }
  }
}
