-- The audit log's entries become commitments. Records of before are converted by the program, in parts, when these
-- tables are there: they have to be encrypted.
DROP TRIGGER audit_record_stays ON audit_record;
DROP TRIGGER audit_record_is_not_emptied ON audit_record;
DROP INDEX audit_by_request;
DROP INDEX audit_by_subject;
DROP INDEX audit_by_cluster;
ALTER TABLE audit_record RENAME TO audit_record_before;
ALTER TABLE audit_record_before RENAME CONSTRAINT audit_record_pkey TO audit_record_before_pkey;

-- committed_from is the first index whose entry commits to its record; erasures counts the deletions of data subjects.
CREATE TABLE audit_log (
    id             BIGINT PRIMARY KEY CHECK (id = 1),
    committed_from BIGINT NOT NULL,
    erasures       BIGINT NOT NULL
);
INSERT INTO audit_log (id, committed_from, erasures)
    SELECT 1, coalesce(max(position), 0) + 1, 0 FROM audit_record_before;

-- The keys of data subjects, wrapped. name and lookup are keyed hashes: of tenant, issuer and subject, and of the subject
-- alone. The id is random and never used twice, so that records whose key was deleted become nobody else's.
CREATE TABLE audit_subject (
    id          BIGINT PRIMARY KEY,
    name        BYTEA NOT NULL UNIQUE CHECK (length(name) = 32),
    lookup      BYTEA CHECK (length(lookup) = 32),
    wrapped_key BYTEA NOT NULL
);
CREATE INDEX audit_subject_by_lookup ON audit_subject (lookup) WHERE lookup IS NOT NULL;

-- Append-only. entry is what the log holds, leaf the leaf hash of a record that was stored before there were entries;
-- position is the index in the log from 1, without a gap. salt and body are what the entry commits to: they and what
-- stands beside them for searching may be deleted, and nothing else. request is the beginning of the SHA-256 of the
-- request id.
CREATE TABLE audit_record (
    position   BIGINT PRIMARY KEY,
    stream_id  BIGINT NOT NULL,
    sequence   BIGINT NOT NULL,
    entry      BYTEA  CHECK (length(entry) = 49),
    leaf       BYTEA  CHECK (length(leaf) = 32),
    request    BIGINT,
    cluster    TEXT COLLATE "C",
    subject_id BIGINT,
    salt       BYTEA  CHECK (length(salt) = 32),
    body       BYTEA,
    CHECK ((entry IS NULL) <> (leaf IS NULL)),
    CHECK ((salt IS NULL) = (body IS NULL))
);
CREATE UNIQUE INDEX audit_by_sequence ON audit_record (stream_id, sequence);
CREATE INDEX audit_by_request ON audit_record (request, position) WHERE request IS NOT NULL;
CREATE INDEX audit_by_subject ON audit_record (subject_id, position) WHERE subject_id IS NOT NULL;
CREATE INDEX audit_by_cluster ON audit_record (cluster, position) WHERE cluster IS NOT NULL;
CREATE TRIGGER audit_record_stays BEFORE DELETE ON audit_record FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_record_is_final BEFORE UPDATE ON audit_record FOR EACH ROW
    WHEN (NEW.position <> OLD.position OR NEW.stream_id <> OLD.stream_id OR NEW.sequence <> OLD.sequence
        OR NEW.entry IS DISTINCT FROM OLD.entry OR NEW.leaf IS DISTINCT FROM OLD.leaf
        OR NEW.body IS NOT NULL OR NEW.request IS NOT NULL OR NEW.cluster IS NOT NULL OR NEW.subject_id IS NOT NULL)
    EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_record_is_not_emptied BEFORE TRUNCATE ON audit_record
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
