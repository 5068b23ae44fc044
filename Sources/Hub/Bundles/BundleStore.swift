import Fleet
import Storage
import Trust

/// What the hub remembers of bundles.
extension HubStore {
  static let bundleSchema = """
    CREATE TABLE bundle_serial (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      last INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE bundles_taken (
      device_id TEXT NOT NULL,
      manifest BLOB NOT NULL,
      serial INTEGER NOT NULL,
      taken_at INTEGER NOT NULL,
      outcome TEXT NOT NULL,
      PRIMARY KEY (device_id, manifest)
    ) STRICT;
    CREATE TABLE bundle_enrollments (
      device_id TEXT PRIMARY KEY REFERENCES devices (id),
      proof TEXT NOT NULL
    ) STRICT;
    CREATE TABLE audit_segments (
      device_id TEXT NOT NULL REFERENCES devices (id),
      first INTEGER NOT NULL,
      size INTEGER NOT NULL,
      taken_at INTEGER NOT NULL,
      PRIMARY KEY (device_id, first, size)
    ) STRICT;
    """

  /// The next bundle's number. It is above the clock's seconds, so that a hub that was restored from a backup goes on
  /// above what boxes have seen.
  func nextBundleSerial(now: Int64) async throws -> Int64 {
    try await database.write { connection in
      let last = try connection.query("SELECT last FROM bundle_serial").first?.integer("last") ?? 0
      let next = max(last + 1, now)
      try connection.execute(
        "INSERT INTO bundle_serial (id, last) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET last = excluded.last",
        .integer(next))
      return next
    }
  }

  /// What the hub tells a box in a bundle.
  func bundleAnswer(_ device: DeviceRecord, state: HubState, now: Int64) async throws -> BundleAnswer {
    let (pin, witness, key) = (state.pin, state.witness.verifier.vkey, state.sealKey.sealingKey.hex)
    return try await database.read { connection in
      let accepted = try connection.query(
        "SELECT id FROM outbox_items WHERE device_id = ? ORDER BY number DESC LIMIT ?", .text(device.id.hex),
        .integer(HubStore.keptItems)
      ).map { try $0.text("id") }
      let proof = try connection.query(
        "SELECT proof FROM bundle_enrollments WHERE device_id = ?", .text(device.id.hex)
      ).first.flatMap { Digest(hex: try $0.text("proof")) }
      return BundleAnswer(
        deviceID: device.id, enrollment: proof.map { BundleAnswer.Enrollment(proof: $0, pin: pin) }, witness: witness,
        sealTo: key, cosigned: device.checkpoint?.note, accepted: accepted.sorted(), hubTime: now)
    }
  }

  // MARK: taking

  /// What taking this very bundle did the first time; nil when it was never taken.
  func takenBundle(_ id: DeviceID, manifest: Digest) async throws -> JSONValue? {
    try await database.read { connection in
      try connection.query(
        "SELECT outcome FROM bundles_taken WHERE device_id = ? AND manifest = ?", .text(id.hex),
        .blob(manifest.bytes)
      ).first.map { try JSONValue(parsing: $0.text("outcome").utf8) }
    }
  }

  /// In the transaction of what the bundle does.
  static func noteTaken(
    _ signed: SignedBundleManifest, _ id: DeviceID, outcome: JSONValue, now: Int64, _ connection: Connection
  ) throws {
    try connection.execute(
      "INSERT INTO bundles_taken (device_id, manifest, serial, taken_at, outcome) VALUES (?, ?, ?, ?, ?)",
      .text(id.hex), .blob(Digest(of: signed.encoded).bytes), .integer(signed.manifest.serial), .integer(now),
      .text(outcome.text))
  }

  /// Takes a box in that asked on a stick. Throws `HubError` as an enrolment online does.
  func enroll(
    _ request: BundleEnrollment, _ signed: SignedBundleManifest, key: VerifyingKey, outcome: JSONValue, now: Int64
  ) async throws -> DeviceID {
    try await database.write { connection in
      let digests = try connection.query("SELECT digest FROM enrollment_tokens").compactMap {
        Digest(bytes: try $0.blob("digest"))
      }
      guard let digest = digests.first(where: { BundleEnrollment.tokenID(secretDigest: $0) == request.token }),
        constantTimeEqual(BundleEnrollment.proof(secretDigest: digest, key: key).bytes, request.proof.bytes)
      else {
        throw HubError(
          .tokenUnknown, "this hub did not make the token that the box asks with", hint: "make a new one for it")
      }
      let id = try HubStore.enroll(
        key, token: digest.bytes, name: request.name, agentVersion: request.agentVersion,
        sequence: UInt64(signed.manifest.serial), now: now, connection)
      try connection.execute(
        """
        INSERT INTO bundle_enrollments (device_id, proof) VALUES (?, ?)
        ON CONFLICT (device_id) DO UPDATE SET proof = excluded.proof
        """, .text(id.hex), .text(request.proof.hex))
      try HubStore.noteTaken(signed, id, outcome: outcome, now: now, connection)
      return id
    }
  }
}
