-- Who does what only one replica may do: who holds the advisory lock. It raises epoch when it has won the lock; what is
-- written under an older epoch is refused. beat_at_ms is when it was last known to be there, by this database's clock;
-- configuration names the one that it has published.
CREATE TABLE leadership (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    epoch         BIGINT NOT NULL,
    beat_at_ms    BIGINT NOT NULL,
    configuration TEXT   NOT NULL
);
INSERT INTO leadership (id, epoch, beat_at_ms, configuration) VALUES (1, 0, 0, '');
