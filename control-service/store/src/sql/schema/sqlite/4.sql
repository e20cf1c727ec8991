-- Who may write to a stream: the principal that did first. '' for the service's own streams, and for those of
-- before, which become the property of whoever writes to them next.
ALTER TABLE audit_stream ADD COLUMN principal TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_stream ADD COLUMN kind TEXT NOT NULL DEFAULT 'unknown'
    CHECK (kind IN ('control', 'gateway', 'sidecar', 'unknown'));
-- Where a stream stood when it was first heard of, and when: how far it may have come since follows from that.
ALTER TABLE audit_stream ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_stream ADD COLUMN began_at_ms INTEGER NOT NULL DEFAULT 0;
UPDATE audit_stream SET base = highest, began_at_ms = unixepoch() * 1000,
    kind = CASE WHEN hop = 'control' AND proxy = 'control-service' THEN 'control' ELSE 'unknown' END;

-- Of what was rejected, what gateways and what sidecars sent.
ALTER TABLE audit_loss ADD COLUMN gateways INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit_loss ADD COLUMN sidecars INTEGER NOT NULL DEFAULT 0;
