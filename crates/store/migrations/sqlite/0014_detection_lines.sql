-- What the detectors said of many assets in the same words is kept once, with the assets it concerns.
CREATE TABLE detection_line (
  id INTEGER PRIMARY KEY,
  what TEXT NOT NULL,
  fact TEXT NOT NULL,
  why TEXT NOT NULL,
  UNIQUE (what, fact, why)
) STRICT;
CREATE TABLE detection_said (
  line INTEGER NOT NULL REFERENCES detection_line (id),
  asset TEXT NOT NULL,
  PRIMARY KEY (line, asset)
) STRICT, WITHOUT ROWID;
CREATE INDEX detection_said_asset ON detection_said (asset);

CREATE TEMP TABLE told AS
  SELECT asset, 'unread' AS what, json_extract(one.value, '$[0]') AS fact, json_extract(one.value, '$[1]') AS why
    FROM detection, json_each(body, '$.unread') one
  UNION ALL SELECT asset, 'blind_spots', '', one.value FROM detection, json_each(body, '$.blind_spots') one
  UNION ALL SELECT asset, 'notes', '', one.value FROM detection, json_each(body, '$.notes') one;
INSERT OR IGNORE INTO detection_line (what, fact, why) SELECT what, fact, why FROM told;
INSERT OR IGNORE INTO detection_said (line, asset)
  SELECT line.id, told.asset FROM told JOIN detection_line line USING (what, fact, why);
DROP TABLE told;
