-- The service's own authority of data clusters' certificates; its private key lies among the secrets.
CREATE TABLE authority (
    id            TEXT PRIMARY KEY,
    certificate   BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;

-- By what data clusters join. key_digest is of the public key that a certificate was issued to.
CREATE TABLE join_token (
    id            TEXT PRIMARY KEY,
    cluster       TEXT NOT NULL,
    token_digest  BLOB NOT NULL CHECK (length(token_digest) = 32),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    used_at_ms    INTEGER,
    key_digest    BLOB CHECK (length(key_digest) = 32),
    revoked_at_ms INTEGER
) STRICT;
CREATE INDEX join_token_by_cluster ON join_token (cluster, id);

-- Certificates that were issued. issued_by is a join token, or the serial number of the certificate before; chain is what
-- was answered, in PEM.
CREATE TABLE certificate (
    serial         TEXT PRIMARY KEY,
    cluster        TEXT NOT NULL,
    key_digest     BLOB NOT NULL CHECK (length(key_digest) = 32),
    issued_for     TEXT NOT NULL CHECK (issued_for IN ('join_token', 'renewal')),
    issued_by      TEXT NOT NULL,
    issued_at_ms   INTEGER NOT NULL,
    not_after_ms   INTEGER NOT NULL,
    renew_after_ms INTEGER NOT NULL,
    revoked_at_ms  INTEGER,
    chain          TEXT NOT NULL
) STRICT;
CREATE INDEX certificate_by_cluster ON certificate (cluster, serial);
CREATE INDEX certificate_by_source ON certificate (issued_by);
CREATE INDEX certificate_revoked ON certificate (not_after_ms) WHERE revoked_at_ms IS NOT NULL;
