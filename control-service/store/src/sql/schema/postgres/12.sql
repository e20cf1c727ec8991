-- Who made a token of the platform API: the token that did, and the person by whose word both are good, as JSON. Nobody
-- knows who made those of before.
ALTER TABLE administrator ADD COLUMN made_by TEXT COLLATE "C";
ALTER TABLE administrator ADD COLUMN voucher TEXT;
CREATE INDEX administrator_by_maker ON administrator (made_by) WHERE made_by IS NOT NULL;
CREATE INDEX administrator_vouched ON administrator (id) WHERE voucher IS NOT NULL AND revoked_at_ms IS NULL;
