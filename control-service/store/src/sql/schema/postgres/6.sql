-- What the processes that serve this database know of each other. None of it needs to outlive a crash of the server:
-- each writes its part again. Times are those of the server's clock.

-- A process. changed counts what it wrote to worker; members are the processes that it knew of.
CREATE UNLOGGED TABLE replica (
    id         TEXT COLLATE "C" PRIMARY KEY,
    seen_at_ms BIGINT NOT NULL,
    changed    BIGINT NOT NULL,
    members    TEXT   NOT NULL
);

-- A filter's worker, as the process that it polls knows it. One that polls several of them in turn has several rows.
CREATE UNLOGGED TABLE worker (
    replica        TEXT COLLATE "C" NOT NULL,
    principal      TEXT COLLATE "C" NOT NULL,
    worker         TEXT COLLATE "C" NOT NULL,
    proxy          TEXT    NOT NULL,
    view           TEXT    NOT NULL,
    acknowledged   BIGINT  NOT NULL,
    polling        BOOLEAN NOT NULL,
    polled_at_ms   BIGINT  NOT NULL,
    seen_at_ms     BIGINT  NOT NULL,
    stale_after_ms BIGINT  NOT NULL,
    PRIMARY KEY (replica, principal, worker)
);
