CREATE TABLE change_request (
  id TEXT PRIMARY KEY,
  remediation TEXT NOT NULL REFERENCES remediation (id),
  connection TEXT NOT NULL,
  generation INTEGER NOT NULL,
  is_over INTEGER NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (remediation, connection)
) STRICT;
CREATE INDEX change_request_live ON change_request (id) WHERE is_over = 0;
