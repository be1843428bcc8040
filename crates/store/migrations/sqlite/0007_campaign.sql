CREATE TABLE campaign (
  id TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  is_over INTEGER NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX campaign_live ON campaign (id) WHERE is_over = 0;
