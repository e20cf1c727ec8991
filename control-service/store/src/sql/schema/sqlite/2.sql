-- Keys that sign tokens. The seed is in table secret, under signing:<kid>. A key is published from its
-- making to its removal; it signs from signs_from_ms to signs_until_ms.
CREATE TABLE signing_key (
    kid            TEXT    PRIMARY KEY,
    purpose        TEXT    NOT NULL CHECK (purpose IN ('identity', 'service')),
    public         BLOB    NOT NULL CHECK (length(public) = 32),
    created_at_ms  INTEGER NOT NULL,
    signs_from_ms  INTEGER,
    signs_until_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX signing_key_that_signs ON signing_key (purpose)
    WHERE signs_from_ms IS NOT NULL AND signs_until_ms IS NULL;

-- Clients of the token endpoint. Of their secrets only the SHA-256; the previous one is good until
-- previous_until_ms. An id is never used twice.
CREATE TABLE service_client (
    id                TEXT    PRIMARY KEY,
    tenant            TEXT    NOT NULL,
    roles             TEXT    NOT NULL,
    scopes            TEXT    NOT NULL,
    audiences         TEXT    NOT NULL,
    may_exchange      INTEGER NOT NULL,
    lifetime_s        INTEGER NOT NULL,
    secret_id         TEXT    NOT NULL,
    secret_digest     BLOB    NOT NULL CHECK (length(secret_digest) = 32),
    previous_id       TEXT,
    previous_digest   BLOB,
    previous_until_ms INTEGER,
    created_at_ms     INTEGER NOT NULL,
    revoked_at_ms     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX service_client_by_tenant ON service_client (tenant, id);

-- Known from audit records, some seconds late.
ALTER TABLE api_key ADD COLUMN last_used_at_ms INTEGER;
-- The key that takes this one's place.
ALTER TABLE api_key ADD COLUMN replaced_by TEXT;

-- When a revocation has nothing left to refuse.
ALTER TABLE revocation ADD COLUMN expires_at_s INTEGER;
CREATE INDEX revocation_that_ends ON revocation (expires_at_s) WHERE expires_at_s IS NOT NULL;
