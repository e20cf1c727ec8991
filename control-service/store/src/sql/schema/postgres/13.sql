-- leader is the replica of the newest epoch. When it was heard of last is said by its lease in table replica, as of the
-- others: nobody says in two places that it lives. configuration has a name for each part now.
ALTER TABLE leadership DROP COLUMN beat_at_ms;
ALTER TABLE leadership ADD COLUMN leader TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE leadership SET configuration = '';
