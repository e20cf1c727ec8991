-- What each signal said last. The times of heartbeats stand in last_heartbeat_at_ms already.
ALTER TABLE cluster ADD COLUMN reported TEXT CHECK (reported IN ('good', 'degraded', 'bad'));
ALTER TABLE cluster ADD COLUMN tunnel TEXT CHECK (tunnel IN ('good', 'degraded', 'bad'));
ALTER TABLE cluster ADD COLUMN tunnel_at_ms BIGINT;
ALTER TABLE cluster ADD COLUMN tunnel_source TEXT NOT NULL DEFAULT '';
ALTER TABLE cluster ADD COLUMN probe TEXT CHECK (probe IN ('good', 'degraded', 'bad'));
ALTER TABLE cluster ADD COLUMN probe_at_ms BIGINT;
ALTER TABLE cluster ADD COLUMN probe_source TEXT NOT NULL DEFAULT '';
UPDATE cluster SET reported = CASE observed WHEN 'online' THEN 'good' WHEN 'degraded' THEN 'degraded' WHEN 'offline' THEN 'bad' END;

-- Since when what is observed is so, by which signal, and until when recoveries are used up.
ALTER TABLE cluster ADD COLUMN observed_since_ms BIGINT;
ALTER TABLE cluster ADD COLUMN observed_by TEXT CHECK (observed_by IN ('heartbeat', 'tunnel', 'probe'));
ALTER TABLE cluster ADD COLUMN recovers_ms BIGINT NOT NULL DEFAULT 0;
