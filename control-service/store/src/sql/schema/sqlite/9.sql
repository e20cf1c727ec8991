-- Restores from backups. While one has not ended, the store is closed: it does not know what it lacks of the life before,
-- which generation names. What is known reaches to covered_*; held_* is what gateways hold. audit_from: where the audit
-- log went on, so that no index of the life before is given twice.
CREATE TABLE restoration (
    id                INTEGER PRIMARY KEY,
    restored_at_ms    INTEGER NOT NULL,
    generation        BLOB    NOT NULL CHECK (length(generation) = 16),
    covered_until_ms  INTEGER NOT NULL,
    covered_revision  INTEGER NOT NULL,
    covered_index     INTEGER NOT NULL,
    exports           INTEGER NOT NULL,
    held_revision     INTEGER,
    held_since_ms     INTEGER,
    audit_from        INTEGER NOT NULL,
    ended_at_ms       INTEGER,
    accepted_since_ms INTEGER
) STRICT;
