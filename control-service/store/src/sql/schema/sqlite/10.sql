-- Who does what only one replica may do: who holds the advisory lock. It raises epoch when it has won the lock; what is
-- written under an older epoch is refused. beat_at_ms is when it was last known to be there, by this database's clock;
-- configuration names the one that it has published.
CREATE TABLE leadership (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    epoch         INTEGER NOT NULL,
    beat_at_ms    INTEGER NOT NULL,
    configuration TEXT   NOT NULL
) STRICT;
INSERT INTO leadership (id, epoch, beat_at_ms, configuration) VALUES (1, 0, 0, '');
