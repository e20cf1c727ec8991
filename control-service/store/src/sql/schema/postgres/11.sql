-- What replicas and the one that leads say to each other. None of it needs to outlive a crash of the server.

-- The wish for an issuer's newest keys, since a filter met one that is not known; outcome and the revision that has what
-- it brought, once the leader has carried it out.
CREATE UNLOGGED TABLE key_wish (
    id          TEXT COLLATE "C" PRIMARY KEY,
    issuer      TEXT   NOT NULL,
    key_id      TEXT   NOT NULL,
    asked_at_ms BIGINT NOT NULL,
    outcome     TEXT,
    revision    BIGINT
);
CREATE INDEX key_wish_open ON key_wish (asked_at_ms) WHERE outcome IS NULL;

-- How issuers are doing, as the leader of an epoch knows it.
CREATE UNLOGGED TABLE leader_word (
    id    BIGINT PRIMARY KEY CHECK (id = 1),
    epoch BIGINT NOT NULL,
    value TEXT   NOT NULL
);
