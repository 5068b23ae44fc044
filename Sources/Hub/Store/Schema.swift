import Storage

/// The hub's tables. Times are seconds since 1970; secrets are kept as SHA-256 digests only.
let hubSchema = [
  Migration(
    1,
    """
    CREATE TABLE devices (
      id TEXT PRIMARY KEY,
      public_key BLOB NOT NULL UNIQUE,
      name TEXT NOT NULL,
      agent_version TEXT NOT NULL,
      enrolled_at INTEGER NOT NULL,
      last_seen INTEGER NOT NULL,
      last_sequence INTEGER NOT NULL,
      revoked_at INTEGER,
      assigned TEXT,
      state TEXT
    ) STRICT;
    CREATE TABLE enrollment_tokens (
      digest BLOB PRIMARY KEY,
      created_at INTEGER NOT NULL,
      expires_at INTEGER NOT NULL,
      used_by TEXT REFERENCES devices (id),
      used_at INTEGER
    ) STRICT;
    CREATE TABLE outbox_items (
      number INTEGER PRIMARY KEY,
      device_id TEXT NOT NULL REFERENCES devices (id),
      id TEXT NOT NULL,
      kind TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      received_at INTEGER NOT NULL,
      body TEXT,
      UNIQUE (device_id, id)
    ) STRICT;
    CREATE TABLE reports (
      device_id TEXT PRIMARY KEY REFERENCES devices (id),
      created_at INTEGER NOT NULL,
      received_at INTEGER NOT NULL,
      signed INTEGER NOT NULL,
      body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE checkpoints (
      device_id TEXT PRIMARY KEY REFERENCES devices (id),
      size INTEGER NOT NULL,
      root BLOB NOT NULL,
      note TEXT NOT NULL,
      cosigned_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE admin_tokens (
      digest BLOB PRIMARY KEY,
      name TEXT NOT NULL,
      created_at INTEGER NOT NULL
    ) STRICT;
    """),
  Migration(2, HubStore.directorSchema),
  Migration(3, HubStore.bundleSchema),
  Migration(4, HubStore.breakGlassSchema),
  Migration(5, HubStore.operatorSchema),
  Migration(6, HubStore.retentionSchema),
]
