-- A probe of the host failed when its facts were read.
ALTER TABLE facts ADD COLUMN ill INTEGER NOT NULL DEFAULT 0;
CREATE INDEX facts_ill ON facts (asset) WHERE ill = 1;
