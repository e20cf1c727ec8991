-- The audit log's entries become commitments. Records of before are converted by the program, in parts, when these
-- tables are there: they have to be encrypted.
DROP TRIGGER audit_record_stays;
DROP TRIGGER audit_record_is_final;
DROP INDEX audit_by_request;
DROP INDEX audit_by_subject;
DROP INDEX audit_by_cluster;
ALTER TABLE audit_record RENAME TO audit_record_before;

-- committed_from is the first index whose entry commits to its record; erasures counts the deletions of data subjects.
CREATE TABLE audit_log (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    committed_from INTEGER NOT NULL,
    erasures       INTEGER NOT NULL
) STRICT;
INSERT INTO audit_log (id, committed_from, erasures)
    SELECT 1, coalesce(max(position), 0) + 1, 0 FROM audit_record_before;

-- The keys of data subjects, wrapped. name and lookup are keyed hashes: of tenant, issuer and subject, and of the subject
-- alone. The id is random and never used twice, so that records whose key was deleted become nobody else's.
CREATE TABLE audit_subject (
    id          INTEGER PRIMARY KEY,
    name        BLOB NOT NULL UNIQUE CHECK (length(name) = 32),
    lookup      BLOB CHECK (length(lookup) = 32),
    wrapped_key BLOB NOT NULL
) STRICT;
CREATE INDEX audit_subject_by_lookup ON audit_subject (lookup) WHERE lookup IS NOT NULL;

-- Append-only. entry is what the log holds, leaf the leaf hash of a record that was stored before there were entries;
-- position is the index in the log from 1, without a gap. salt and body are what the entry commits to: they and what
-- stands beside them for searching may be deleted, and nothing else. request is the beginning of the SHA-256 of the
-- request id.
CREATE TABLE audit_record (
    position   INTEGER PRIMARY KEY,
    stream_id  INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    entry      BLOB    CHECK (length(entry) = 49),
    leaf       BLOB    CHECK (length(leaf) = 32),
    request    INTEGER,
    cluster    TEXT,
    subject_id INTEGER,
    salt       BLOB    CHECK (length(salt) = 32),
    body       BLOB,
    CHECK ((entry IS NULL) <> (leaf IS NULL)),
    CHECK ((salt IS NULL) = (body IS NULL)),
    UNIQUE (stream_id, sequence)
) STRICT;
CREATE INDEX audit_by_request ON audit_record (request) WHERE request IS NOT NULL;
CREATE INDEX audit_by_subject ON audit_record (subject_id) WHERE subject_id IS NOT NULL;
CREATE INDEX audit_by_cluster ON audit_record (cluster) WHERE cluster IS NOT NULL;
CREATE TRIGGER audit_record_stays BEFORE DELETE ON audit_record
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_record_is_final BEFORE UPDATE ON audit_record
    WHEN NEW.position <> OLD.position OR NEW.stream_id <> OLD.stream_id OR NEW.sequence <> OLD.sequence
        OR NEW.entry IS NOT OLD.entry OR NEW.leaf IS NOT OLD.leaf
        OR NEW.body IS NOT NULL OR NEW.request IS NOT NULL OR NEW.cluster IS NOT NULL OR NEW.subject_id IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
