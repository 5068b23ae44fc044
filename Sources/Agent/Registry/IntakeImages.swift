import Fleet
import FoundationEssentials
import Models
import Trust

/// What the image repository says now of some paths.
struct ImageAnswers: Sendable {
  var images: [String: Admission.Image] = [:]
  /// Paths about which it could not be asked: the metadata of who may vouch for them is not to be had or not trusted.
  var unclear: Set<String> = []
}

extension Intake {
  /// Looks up every path through the delegations. Without a source only what is on disk is asked, and what is not there
  /// is thrown. Errors of single paths are put on record and leave them unclear.
  func images(
    of paths: Set<String>, in trusted: inout TrustedMetadata, at started: Date, from source: (any FleetSource)?,
    _ ledger: AttackLedger?, _ failures: inout [Failure]
  ) async throws -> ImageAnswers {
    var answers = ImageAnswers()
    for path in paths.sorted() where path.hasPrefix("models/") || path.hasPrefix(PolicyTarget.folder) {
      do {
        let found = try await TUFWorkflow.search(path, in: &trusted, now: started) { file in
          try await registry.delegated(file)
        } fetch: { file, limit in
          try await source?.imageMetadata(file, limit: limit)
        } persist: { file, bytes in
          guard let bytes else { return try await registry.persistDelegated(file, nil) }
          let document = try TUFDocument(parsing: bytes, as: .targets)
          guard TUFBinding(of: document) == .image else { throw TUFError.foreign(role: "targets") }
          try await registry.persistDelegated(file, bytes)
        }
        if let found { answers.images[path] = Admission.Image(found.target, signers: found.signers) }
      } catch let error as TUFError {
        guard let ledger else { throw error }
        answers.unclear.insert(path)
        if let report = AttackReport(error, in: .image) {
          // The top-level roles are trusted by now.
          try await ledger.record(AttackReport(report.attack, role: "image/delegated", reason: report.reason))
        }
        let message = "\(error)"
        if !failures.contains(where: { $0.message == message }) {
          failures.append(Failure(model: "", message: message))
        }
      } catch let fault as SourceFault {
        try await ledger?.record(fault.report("image/delegated"))
        throw fault
      }
    }
    return answers
  }

  /// Puts on record what attack an error stands for, and throws it on.
  func named<T>(
    _ repository: FleetRepository, _ ledger: AttackLedger, _ work: () async throws -> T
  ) async throws -> T {
    do {
      return try await work()
    } catch let error as TUFError {
      if let report = AttackReport(error, in: repository) { try await ledger.record(report) }
      throw error
    } catch let error as SourceFault {
      try await ledger.record(error.report("\(repository.rawValue)/metadata"))
      throw error
    } catch let error as AttackReport {
      try await ledger.record(error)
      throw error
    } catch let error as DirectorError {
      try await ledger.record(error.report)
      throw error
    }
  }
}

extension ModelRegistry {
  /// What is here, for the decision over what is to be here.
  func known() -> [Admission.Known] {
    installed().map { model in
      let wasActive = model.state == .active || (model.state == .corrupt && model.installedAt != nil)
      return Admission.Known(model.manifest, wasActive: wasActive)
    }
  }
}

extension RegistryError {
  /// The attack that content stands for which is not as it was signed; nil for what is nobody's attempt.
  var attack: AttackReport? {
    switch self {
    case .wrongIndex, .badChunk:
      AttackReport(.tamperedContent, role: "content", reason: "an index or a chunk does not have its digest")
    case .wrongDigest, .wrongFile, .badIndex, .indexDisagrees:
      AttackReport(.tamperedContent, role: "content", reason: "a model's file does not have its signed digest")
    default: nil
    }
  }
}
