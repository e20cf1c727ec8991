-- The service's own authority of data clusters' certificates; its private key lies among the secrets.
CREATE TABLE authority (
    id            TEXT COLLATE "C" PRIMARY KEY,
    certificate   BYTEA NOT NULL,
    created_at_ms BIGINT NOT NULL
);

-- By what data clusters join. key_digest is of the public key that a certificate was issued to.
CREATE TABLE join_token (
    id            TEXT COLLATE "C" PRIMARY KEY,
    cluster       TEXT COLLATE "C" NOT NULL,
    token_digest  BYTEA NOT NULL CHECK (length(token_digest) = 32),
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    used_at_ms    BIGINT,
    key_digest    BYTEA CHECK (length(key_digest) = 32),
    revoked_at_ms BIGINT
);
CREATE INDEX join_token_by_cluster ON join_token (cluster, id);

-- Certificates that were issued. issued_by is a join token, or the serial number of the certificate before; chain is what
-- was answered, in PEM.
CREATE TABLE certificate (
    serial         TEXT COLLATE "C" PRIMARY KEY,
    cluster        TEXT COLLATE "C" NOT NULL,
    key_digest     BYTEA NOT NULL CHECK (length(key_digest) = 32),
    issued_for     TEXT NOT NULL CHECK (issued_for IN ('join_token', 'renewal')),
    issued_by      TEXT COLLATE "C" NOT NULL,
    issued_at_ms   BIGINT NOT NULL,
    not_after_ms   BIGINT NOT NULL,
    renew_after_ms BIGINT NOT NULL,
    revoked_at_ms  BIGINT,
    chain          TEXT NOT NULL
);
CREATE INDEX certificate_by_cluster ON certificate (cluster, serial);
CREATE INDEX certificate_by_source ON certificate (issued_by);
CREATE INDEX certificate_revoked ON certificate (not_after_ms) WHERE revoked_at_ms IS NOT NULL;
