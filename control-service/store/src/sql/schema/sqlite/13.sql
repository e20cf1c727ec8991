-- leader is the process of the newest epoch; a file has no others that could want to know when it was heard of last.
-- configuration has a name for each part now.
ALTER TABLE leadership DROP COLUMN beat_at_ms;
ALTER TABLE leadership ADD COLUMN leader TEXT NOT NULL DEFAULT '';
UPDATE leadership SET configuration = '';
