-- Who holds a cluster closed, as JSON: one hold of each side at most, the highest last. Of those of before only the side is
-- known, and a suspension without one was the platform's. Retirement ends all of them.
ALTER TABLE cluster ADD COLUMN holds TEXT NOT NULL DEFAULT '[]';
UPDATE cluster SET suspended_by = 'platform' WHERE administrative = 'suspended' AND suspended_by = '';
UPDATE cluster SET holds = '[{"side":"' || replace(suspended_by, ' ', '"},{"side":"') || '"}]'
    WHERE administrative = 'suspended';
ALTER TABLE cluster DROP COLUMN suspended_by;
