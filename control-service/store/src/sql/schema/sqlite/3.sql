-- When an administrator's token ends, and when it was revoked. It is good while neither has happened.
ALTER TABLE administrator ADD COLUMN expires_at_s INTEGER;
ALTER TABLE administrator ADD COLUMN revoked_at_ms INTEGER;
