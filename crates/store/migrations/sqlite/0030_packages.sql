-- What advisories could name on each asset, to find the assets by the names that advisories use.
CREATE TABLE carried (
  asset TEXT NOT NULL,
  ecosystem TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  PRIMARY KEY (asset, ecosystem, name, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX carried_by ON carried (ecosystem, name, asset);

-- What was installed when, as facts showed it; what has no end is there still.
CREATE TABLE installed (
  asset TEXT NOT NULL,
  package TEXT NOT NULL,
  place TEXT NOT NULL,
  version TEXT NOT NULL,
  seen_from INTEGER NOT NULL,
  seen_until INTEGER,
  installed_at INTEGER,
  baseline INTEGER NOT NULL,
  PRIMARY KEY (asset, package, place, version, seen_from)
) STRICT, WITHOUT ROWID;
CREATE INDEX installed_now ON installed (asset) WHERE seen_until IS NULL;
CREATE INDEX installed_since ON installed (asset, seen_from);
CREATE INDEX installed_past ON installed (asset, seen_until) WHERE seen_until IS NOT NULL;

-- Assets on which a newer edition of the feeds says something else, until they were looked at again.
CREATE TABLE touched (
  work TEXT NOT NULL,
  asset TEXT NOT NULL,
  edition INTEGER NOT NULL,
  PRIMARY KEY (work, asset)
) STRICT, WITHOUT ROWID;

-- Digest of what lasts of the facts, as their executor told them; when it last told them whole, and in which epoch.
ALTER TABLE facts ADD COLUMN told BLOB;
ALTER TABLE facts ADD COLUMN whole_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE facts ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
-- Digest of what is in the two tables above.
ALTER TABLE facts ADD COLUMN inventory BLOB;
CREATE INDEX facts_unlisted ON facts (asset) WHERE inventory IS NULL;

ALTER TABLE detection ADD COLUMN facts_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX detection_facts ON detection (asset, facts_at);
