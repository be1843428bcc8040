-- What the detectors said of each asset is counted and listed over all of them: a noun of its own, and no setting.
CREATE TABLE detection (
  asset        TEXT NOT NULL PRIMARY KEY,
  with_data    INTEGER NOT NULL,
  without_feed INTEGER NOT NULL,
  packages     INTEGER NOT NULL,
  body         TEXT NOT NULL,
  at           INTEGER NOT NULL
) STRICT;

INSERT INTO detection (asset, with_data, without_feed, packages, body, at)
  SELECT substr(key, 11), coalesce(json_extract(value, '$.coverage.with_data'), 0),
    coalesce(json_extract(value, '$.coverage.without_feed'), 0), coalesce(json_extract(value, '$.coverage.packages'), 0),
    value, at
  FROM setting WHERE key LIKE 'detection/%';
DELETE FROM setting WHERE key LIKE 'detection/%';
