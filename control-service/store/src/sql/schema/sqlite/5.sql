-- Who has shown wrong secrets, by the SHA-256 of its name: how often, when last, and until when it must wait.
CREATE TABLE pause (
    name         BLOB    PRIMARY KEY CHECK (length(name) = 32),
    failures     INTEGER NOT NULL,
    failed_at_ms INTEGER NOT NULL,
    until_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pause_by_time ON pause (failed_at_ms);
