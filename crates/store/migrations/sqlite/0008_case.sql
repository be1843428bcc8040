CREATE TABLE cases (
  id TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  is_over INTEGER NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX cases_live ON cases (id) WHERE is_over = 0;
CREATE INDEX cases_listing ON cases (created_at DESC, id);

-- What a case is about, and whether it still works on it.
CREATE TABLE case_item (
  item TEXT NOT NULL,
  case_id TEXT NOT NULL REFERENCES cases (id),
  is_busy INTEGER NOT NULL,
  PRIMARY KEY (item, case_id)
) STRICT;
CREATE UNIQUE INDEX case_item_busy ON case_item (item) WHERE is_busy = 1;

-- What hangs on what.
CREATE TABLE edge (
  from_asset TEXT NOT NULL,
  to_asset TEXT NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (from_asset, to_asset, kind)
) STRICT;
CREATE INDEX edge_to ON edge (to_asset);
