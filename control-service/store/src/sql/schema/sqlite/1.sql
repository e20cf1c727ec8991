-- The life of this store: generation names it, revision numbers every change of the snapshot, and
-- removed entries up to floor are forgotten.
CREATE TABLE snapshot_life (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation BLOB    NOT NULL CHECK (length(generation) = 16),
    revision   INTEGER NOT NULL,
    floor      INTEGER NOT NULL
) STRICT;

-- Every entry of the snapshot as filters get it. value is NULL when the entry was removed. For kinds
-- that hold secrets, value is the SHA-256 of what is sent; the secret itself is in table secret.
CREATE TABLE snapshot_entry (
    kind     INTEGER NOT NULL,
    key      BLOB    NOT NULL,
    revision INTEGER NOT NULL UNIQUE,
    value    BLOB,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_tombstone ON snapshot_entry (revision) WHERE value IS NULL;

CREATE TABLE secret (
    name        TEXT PRIMARY KEY,
    wrapped_key BLOB NOT NULL,
    ciphertext  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE administrator (
    id            TEXT    PRIMARY KEY,
    token_digest  BLOB    NOT NULL CHECK (length(token_digest) = 32),
    break_glass   INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cluster (
    id                   TEXT    PRIMARY KEY,
    tenant               TEXT    NOT NULL,
    placement            TEXT    NOT NULL CHECK (placement IN ('platform_hosted', 'on_premises')),
    region               TEXT,
    administrative       TEXT    NOT NULL CHECK (administrative IN ('active', 'suspended', 'retired')),
    observed             TEXT    NOT NULL CHECK (observed IN ('pending', 'online', 'degraded', 'offline')),
    version              TEXT,
    token_digest         BLOB    NOT NULL CHECK (length(token_digest) = 32),
    created_at_ms        INTEGER NOT NULL,
    last_heartbeat_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX cluster_by_tenant ON cluster (tenant, id);

CREATE TABLE api_key (
    id            TEXT    PRIMARY KEY,
    digest        BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    tenant        TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    source_type   TEXT    NOT NULL,
    roles         TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_s  INTEGER,
    revoked_at_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_by_tenant ON api_key (tenant, id);

CREATE TABLE revocation (
    name          TEXT    PRIMARY KEY,
    note          TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The keys fetched last from each issuer, so that a restart does not depend on it.
CREATE TABLE issuer_keys (
    issuer        TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    jwks          TEXT    NOT NULL,
    fetched_at_ms INTEGER NOT NULL,
    PRIMARY KEY (issuer)
) STRICT, WITHOUT ROWID;

-- A stream is one start of one VM. highest - stored sequence numbers are missing.
CREATE TABLE audit_stream (
    id         INTEGER PRIMARY KEY,
    stream     BLOB    NOT NULL UNIQUE CHECK (length(stream) = 16),
    proxy      TEXT    NOT NULL,
    hop        TEXT    NOT NULL,
    stored     INTEGER NOT NULL,
    highest    INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    conflicts  INTEGER NOT NULL
) STRICT;

-- Append-only. bytes is the record exactly as it came, leaf its RFC 9162 leaf hash.
CREATE TABLE audit_record (
    position   INTEGER PRIMARY KEY,
    stream_id  INTEGER NOT NULL REFERENCES audit_stream (id),
    sequence   INTEGER NOT NULL,
    request_id TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    cluster    TEXT    NOT NULL,
    bytes      BLOB    NOT NULL,
    leaf       BLOB    NOT NULL CHECK (length(leaf) = 32),
    UNIQUE (stream_id, sequence)
) STRICT;
CREATE INDEX audit_by_request ON audit_record (request_id) WHERE request_id <> '';
CREATE INDEX audit_by_subject ON audit_record (subject) WHERE subject <> '';
CREATE INDEX audit_by_cluster ON audit_record (cluster) WHERE cluster <> '';
CREATE TRIGGER audit_record_stays BEFORE DELETE ON audit_record
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_record_is_final BEFORE UPDATE ON audit_record
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

-- What came and could not be stored.
CREATE TABLE audit_loss (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    rejected INTEGER NOT NULL
) STRICT;
INSERT INTO audit_loss (id, rejected) VALUES (1, 0);
