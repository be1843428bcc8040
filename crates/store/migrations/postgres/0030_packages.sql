-- What advisories could name on each asset, to find the assets by the names that advisories use.
CREATE TABLE carried (
  asset TEXT COLLATE "C" NOT NULL,
  ecosystem TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  version TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (asset, ecosystem, name, version)
);
CREATE INDEX carried_by ON carried (ecosystem, name, asset);

-- What was installed when, as facts showed it; what has no end is there still.
CREATE TABLE installed (
  asset TEXT COLLATE "C" NOT NULL,
  package TEXT COLLATE "C" NOT NULL,
  place TEXT COLLATE "C" NOT NULL,
  version TEXT COLLATE "C" NOT NULL,
  seen_from BIGINT NOT NULL,
  seen_until BIGINT,
  installed_at BIGINT,
  baseline BIGINT NOT NULL,
  PRIMARY KEY (asset, package, place, version, seen_from)
);
CREATE INDEX installed_now ON installed (asset) WHERE seen_until IS NULL;
CREATE INDEX installed_since ON installed (asset, seen_from);
CREATE INDEX installed_past ON installed (asset, seen_until) WHERE seen_until IS NOT NULL;

-- Assets on which a newer edition of the feeds says something else, until they were looked at again.
CREATE TABLE touched (
  work TEXT COLLATE "C" NOT NULL,
  asset TEXT COLLATE "C" NOT NULL,
  edition BIGINT NOT NULL,
  PRIMARY KEY (work, asset)
);

-- Digest of what lasts of the facts, as their executor told them; when it last told them whole, and in which epoch.
ALTER TABLE facts ADD COLUMN told BYTEA;
ALTER TABLE facts ADD COLUMN whole_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE facts ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;
-- Digest of what is in the two tables above.
ALTER TABLE facts ADD COLUMN inventory BYTEA;
CREATE INDEX facts_unlisted ON facts (asset) WHERE inventory IS NULL;

ALTER TABLE detection ADD COLUMN facts_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX detection_facts ON detection (asset, facts_at);
