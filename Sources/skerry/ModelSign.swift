import CommandLine
import FoundationEssentials
import Storage
import Trust

/// `skerry model sign`: a publisher's own signature over a model, as OpenSSF Model Signing 1.0 has it.
enum ModelSign {
  static let spec = CommandSpec(
    "sign", "sign a model's files with your own key or certificate",
    discussion: """
      Writes a Sigstore bundle by OpenSSF Model Signing 1.0, which others verify too (model_signing verify). PATH is a \
      folder with all below it, or one file. The key is an elliptic-curve key in PEM, on P-256, P-384 or P-521; with \
      --signing-certificate the bundle carries the certificate and those of --certificate-chain that lead to a root.

      Works on files alone and needs no agent.
      """,
    arguments: [ArgumentSpec("PATH", "the model: a folder or a file", completion: .files)],
    options: [
      OptionSpec("signature", value: "FILE", "where the signature goes", default: "model.sig", completion: .files),
      OptionSpec("private-key", value: "FILE", "the private key, PEM", completion: .files),
      OptionSpec(
        "passphrase-file", value: "FILE", "read the key's passphrase from the first line of FILE", completion: .files),
      OptionSpec("signing-certificate", value: "FILE", "the certificate of that key, PEM", completion: .files),
      ModelSigning.certificateChain, ModelSigning.ignorePaths, ModelSigning.ignoreGit, ModelSigning.keepGit,
      OptionSpec("allow-symlinks", "take in the files that symbolic links point to; otherwise a link is refused"),
      OptionSpec(
        "shard-size", value: "BYTES", "hash large files in pieces of this size, at the same time (1000000000 is usual)"
      ),
    ],
    examples: [
      Example("skerry model sign smollm2 --signature smollm2.sig --private-key acme.pem", "signs all files of a folder")
    ])

  static let run: Runner = { invocation in
    let signature = invocation.command.option("signature") ?? "model.sig"
    do { try await sign(invocation, signature) } catch { throw ModelSigning.failure(error, signature) }
  }

  private static func sign(_ invocation: Invocation, _ signature: String) async throws {
    let command = invocation.command
    let model = command.argument("PATH")
    // Everything that can be wrong without reading the model comes first.
    let shardSize = try command.integer("shard-size", in: 1...Int64.max)
    let ignored = try ModelSigning.ignored(command, in: model, signature: signature)
    try demandReplaceable(signature)
    let key = try privateKey(command)
    let now = Date()
    let certificate = try command.option("signing-certificate").map { path in
      guard let first = try ModelSigning.certificates([path]).first else { throw CertificateError.notACertificate }
      return first
    }
    let chain = try ModelSigning.certificates(command.options("certificate-chain"))
    if let certificate {
      _ = try CertificateChain.ordered(signer: certificate, others: chain, key: key.publicKey, now: now)
    } else if !chain.isEmpty {
      throw UsageError(path: command.path, "--certificate-chain belongs to --signing-certificate")
    }

    let covered = Set(ignored)
    let tree = try ModelTree(
      model, followingLinks: command.flag("allow-symlinks"), isIgnored: { ModelPath.isCovered($0, by: covered) })
    for path in tree.linksOutside { invocation.console.note("warning: \(path) is a link that leads out of the model") }
    let ranges = tree.sizes.sorted { $0.key < $1.key }.flatMap { path, size in
      ModelFileRange.ranges(of: path, length: size, shardSize: shardSize.map(UInt64.init))
    }
    guard !ranges.isEmpty else { throw CommandFailure("\(model) has no file to sign", status: .data) }
    let progress = ProgressBar(hidden: command.flag("json"))
    let digests = try await tree.digests(of: ranges) { progress.update("hashing \(tree.name)", done: $0, total: $1) }
    progress.finish()
    let manifest = try ModelFileManifest(
      name: tree.name,
      serialization: .init(
        shardSize: shardSize.map(UInt64.init), allowsSymlinks: command.flag("allow-symlinks"), ignoredPaths: ignored),
      resources: zip(ranges, digests).map { .init(range: $0, sha256: $1) })
    let bundle = try manifest.signed(by: key, certificate: certificate, chain: chain, now: now)
    try DurableFile.replace(signature, with: bundle.encoded, mode: 0o644)
    tell(invocation, manifest, tree, signature, certificate.map { .certificate($0) } ?? .key(key.publicKey))
  }

  private static func tell(
    _ invocation: Invocation, _ manifest: ModelFileManifest, _ tree: ModelTree, _ path: String, _ signer: ModelSigner
  ) {
    let bytes = tree.sizes.values.reduce(0, +)
    let answer: JSONValue = [
      "signature": .string(path), "name": .string(manifest.name), "files": .integer(Int64(manifest.files.count)),
      "bytes": .integer(Int64(clamping: bytes)), "rootDigest": .string(manifest.rootDigest.hex), "signer": signer.json,
    ]
    invocation.answer(answer) {
      let files = manifest.files.count == 1 ? "1 file" : "\(manifest.files.count) files"
      return "signed \(manifest.name): \(files), \(Readable.bytes(bytes)), by \(signer)\nsignature in \(path)\n"
    }
  }

  /// A signature may be written again; a file of another kind under its name, such as the weights, may not be lost.
  private static func demandReplaceable(_ path: String) throws {
    guard DurableFile.exists(path) else { return }
    let size = DurableFile.size(path) ?? 0
    if size == 0 { return }
    if size <= UInt64(SigstoreBundle.limit), let bytes = try DurableFile.read(path, limit: SigstoreBundle.limit),
      let value = try? JSONValue(parsing: bytes), value["verificationMaterial"] != nil
    {
      return
    }
    throw CommandFailure(
      "\(path) exists and is no signature", hint: "choose another --signature, or remove it", status: .data)
  }

  private static func privateKey(_ command: ParsedCommand) throws -> ECPrivateKey {
    guard let path = command.option("private-key") else {
      throw UsageError(path: command.path, "the private key is missing", hint: "give --private-key FILE")
    }
    let pem = try ModelSigning.file(path)
    do { return try ECPrivateKey(pem: pem) } catch ECKeyError.wrongPassphrase {
      let phrase = try RepoPassphrase(file: command.option("passphrase-file")).get(confirm: false)
      do { return try ECPrivateKey(pem: pem, passphrase: phrase) } catch {
        throw CommandFailure("\(path): \(error)", status: .data)
      }
    } catch {
      throw CommandFailure("\(path): \(error)", status: .data)
    }
  }
}
