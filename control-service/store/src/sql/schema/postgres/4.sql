-- What the first four steps of SQLite make, as PostgreSQL writes it. Text is compared by its bytes, as SQLite does it.

-- The life of this store: generation names it, revision numbers every change of the snapshot, and
-- removed entries up to floor are forgotten.
CREATE TABLE snapshot_life (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    generation BYTEA  NOT NULL CHECK (length(generation) = 16),
    revision   BIGINT NOT NULL,
    floor      BIGINT NOT NULL
);

-- Every entry of the snapshot as filters get it. value is NULL when the entry was removed. For kinds
-- that hold secrets, value is the SHA-256 of what is sent; the secret itself is in table secret.
CREATE TABLE snapshot_entry (
    kind     BIGINT NOT NULL,
    key      BYTEA  NOT NULL,
    revision BIGINT NOT NULL UNIQUE,
    value    BYTEA,
    PRIMARY KEY (kind, key)
);
CREATE INDEX snapshot_tombstone ON snapshot_entry (revision) WHERE value IS NULL;

CREATE TABLE secret (
    name        TEXT COLLATE "C" PRIMARY KEY,
    wrapped_key BYTEA NOT NULL,
    ciphertext  BYTEA NOT NULL
);

CREATE TABLE administrator (
    id            TEXT COLLATE "C" PRIMARY KEY,
    token_digest  BYTEA   NOT NULL CHECK (length(token_digest) = 32),
    break_glass   BOOLEAN NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    expires_at_s  BIGINT,
    revoked_at_ms BIGINT
);

CREATE TABLE cluster (
    id                   TEXT COLLATE "C" PRIMARY KEY,
    tenant               TEXT COLLATE "C" NOT NULL,
    placement            TEXT   NOT NULL CHECK (placement IN ('platform_hosted', 'on_premises')),
    region               TEXT,
    administrative       TEXT   NOT NULL CHECK (administrative IN ('active', 'suspended', 'retired')),
    observed             TEXT   NOT NULL CHECK (observed IN ('pending', 'online', 'degraded', 'offline')),
    version              TEXT,
    token_digest         BYTEA  NOT NULL CHECK (length(token_digest) = 32),
    created_at_ms        BIGINT NOT NULL,
    last_heartbeat_at_ms BIGINT
);
CREATE INDEX cluster_by_tenant ON cluster (tenant, id);

CREATE TABLE api_key (
    id              TEXT COLLATE "C" PRIMARY KEY,
    digest          BYTEA  NOT NULL UNIQUE CHECK (length(digest) = 32),
    tenant          TEXT COLLATE "C" NOT NULL,
    subject         TEXT   NOT NULL,
    source_type     TEXT   NOT NULL,
    roles           TEXT   NOT NULL,
    scopes          TEXT   NOT NULL,
    created_at_ms   BIGINT NOT NULL,
    expires_at_s    BIGINT,
    revoked_at_ms   BIGINT,
    last_used_at_ms BIGINT,
    replaced_by     TEXT
);
CREATE INDEX api_key_by_tenant ON api_key (tenant, id);

CREATE TABLE revocation (
    name          TEXT COLLATE "C" PRIMARY KEY,
    note          TEXT   NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_s  BIGINT
);
CREATE INDEX revocation_that_ends ON revocation (expires_at_s) WHERE expires_at_s IS NOT NULL;

-- The keys fetched last from each issuer, so that a restart does not depend on it.
CREATE TABLE issuer_keys (
    issuer        TEXT COLLATE "C" PRIMARY KEY,
    source        TEXT   NOT NULL,
    jwks          TEXT   NOT NULL,
    fetched_at_ms BIGINT NOT NULL
);

-- Keys that sign tokens. The seed is in table secret, under signing:<kid>. A key is published from its
-- making to its removal; it signs from signs_from_ms to signs_until_ms.
CREATE TABLE signing_key (
    kid            TEXT COLLATE "C" PRIMARY KEY,
    purpose        TEXT   NOT NULL CHECK (purpose IN ('identity', 'service')),
    public         BYTEA  NOT NULL CHECK (length(public) = 32),
    created_at_ms  BIGINT NOT NULL,
    signs_from_ms  BIGINT,
    signs_until_ms BIGINT
);
CREATE UNIQUE INDEX signing_key_that_signs ON signing_key (purpose)
    WHERE signs_from_ms IS NOT NULL AND signs_until_ms IS NULL;

-- Clients of the token endpoint. Of their secrets only the SHA-256; the previous one is good until
-- previous_until_ms. An id is never used twice.
CREATE TABLE service_client (
    id                TEXT COLLATE "C" PRIMARY KEY,
    tenant            TEXT COLLATE "C" NOT NULL,
    roles             TEXT    NOT NULL,
    scopes            TEXT    NOT NULL,
    audiences         TEXT    NOT NULL,
    may_exchange      BOOLEAN NOT NULL,
    lifetime_s        BIGINT  NOT NULL,
    secret_id         TEXT    NOT NULL,
    secret_digest     BYTEA   NOT NULL CHECK (length(secret_digest) = 32),
    previous_id       TEXT,
    previous_digest   BYTEA,
    previous_until_ms BIGINT,
    created_at_ms     BIGINT  NOT NULL,
    revoked_at_ms     BIGINT
);
CREATE INDEX service_client_by_tenant ON service_client (tenant, id);

-- A stream is one start of one VM. highest - stored sequence numbers are missing. principal is who may write to
-- it; base is where it stood when it was first heard of, began_at_ms when that was.
CREATE TABLE audit_stream (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream      BYTEA  NOT NULL UNIQUE CHECK (length(stream) = 16),
    proxy       TEXT   NOT NULL,
    hop         TEXT   NOT NULL,
    stored      BIGINT NOT NULL,
    highest     BIGINT NOT NULL,
    duplicates  BIGINT NOT NULL,
    conflicts   BIGINT NOT NULL,
    principal   TEXT   NOT NULL DEFAULT '',
    kind        TEXT   NOT NULL DEFAULT 'unknown' CHECK (kind IN ('control', 'gateway', 'sidecar', 'unknown')),
    base        BIGINT NOT NULL DEFAULT 0,
    began_at_ms BIGINT NOT NULL DEFAULT 0
);

-- Append-only. bytes is the record exactly as it came, leaf its RFC 9162 leaf hash, position its index in the log from
-- 1, without a gap.
CREATE TABLE audit_record (
    position   BIGINT PRIMARY KEY,
    stream_id  BIGINT NOT NULL REFERENCES audit_stream (id),
    sequence   BIGINT NOT NULL,
    request_id TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    cluster    TEXT   NOT NULL,
    bytes      BYTEA  NOT NULL,
    leaf       BYTEA  NOT NULL CHECK (length(leaf) = 32),
    UNIQUE (stream_id, sequence)
);
CREATE INDEX audit_by_request ON audit_record (request_id) WHERE request_id <> '';
CREATE INDEX audit_by_subject ON audit_record (subject) WHERE subject <> '';
CREATE INDEX audit_by_cluster ON audit_record (cluster) WHERE cluster <> '';
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END';
CREATE TRIGGER audit_record_stays BEFORE DELETE OR UPDATE ON audit_record
    FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_record_is_not_emptied BEFORE TRUNCATE ON audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();

-- What came and could not be stored: in all, and of these what gateways and what sidecars sent.
CREATE TABLE audit_loss (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    rejected BIGINT NOT NULL,
    gateways BIGINT NOT NULL DEFAULT 0,
    sidecars BIGINT NOT NULL DEFAULT 0
);
INSERT INTO audit_loss (id, rejected) VALUES (1, 0);

-- The version of these tables.
CREATE TABLE schema_version (
    id      BIGINT PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);
INSERT INTO schema_version (id, version) VALUES (1, 0);
