-- Restores from backups. While one has not ended, the store is closed: it does not know what it lacks of the life before,
-- which generation names. What is known reaches to covered_*; held_* is what gateways hold. audit_from: where the audit
-- log went on, so that no index of the life before is given twice.
CREATE TABLE restoration (
    id                BIGINT PRIMARY KEY,
    restored_at_ms    BIGINT  NOT NULL,
    generation        BYTEA   NOT NULL CHECK (length(generation) = 16),
    covered_until_ms  BIGINT  NOT NULL,
    covered_revision  BIGINT  NOT NULL,
    covered_index     BIGINT  NOT NULL,
    exports           BIGINT  NOT NULL,
    held_revision     BIGINT,
    held_since_ms     BIGINT,
    audit_from        BIGINT  NOT NULL,
    ended_at_ms       BIGINT,
    accepted_since_ms BIGINT
);
