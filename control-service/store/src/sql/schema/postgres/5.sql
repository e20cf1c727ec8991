-- Who has shown wrong secrets, by the SHA-256 of its name: how often, when last, and until when it must wait.
CREATE TABLE pause (
    name         BYTEA  PRIMARY KEY CHECK (length(name) = 32),
    failures     BIGINT NOT NULL,
    failed_at_ms BIGINT NOT NULL,
    until_ms     BIGINT NOT NULL
);
CREATE INDEX pause_by_time ON pause (failed_at_ms);
