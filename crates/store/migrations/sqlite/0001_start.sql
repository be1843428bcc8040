CREATE TABLE setting (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

CREATE TABLE lease (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  token INTEGER NOT NULL,
  until INTEGER NOT NULL
) STRICT;

CREATE TABLE asset (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  body TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL
) STRICT;

CREATE TABLE facts (
  asset TEXT PRIMARY KEY REFERENCES asset (id),
  collected_at INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  digest BLOB NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE facts_history (
  asset TEXT NOT NULL REFERENCES asset (id),
  collected_at INTEGER NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (asset, collected_at)
) STRICT;

CREATE TABLE finding (
  fingerprint TEXT PRIMARY KEY,
  asset TEXT NOT NULL REFERENCES asset (id),
  detector TEXT NOT NULL,
  verdict TEXT NOT NULL,
  id TEXT NOT NULL,
  package TEXT NOT NULL,
  item TEXT,
  body TEXT NOT NULL,
  digest BLOB NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  closed_at INTEGER,
  closed_as TEXT,
  reopened INTEGER NOT NULL
) STRICT;
CREATE INDEX finding_asset ON finding (asset, detector, fingerprint);
CREATE INDEX finding_item ON finding (item, fingerprint);

CREATE TABLE finding_day (
  day TEXT NOT NULL,
  detector TEXT NOT NULL,
  opened INTEGER NOT NULL,
  fixed INTEGER NOT NULL,
  withdrawn INTEGER NOT NULL,
  gone INTEGER NOT NULL,
  PRIMARY KEY (day, detector)
) STRICT;

CREATE TABLE item (
  id TEXT PRIMARY KEY,
  asset TEXT NOT NULL REFERENCES asset (id),
  name TEXT NOT NULL,
  body TEXT NOT NULL,
  findings INTEGER NOT NULL,
  rank TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  closed_at INTEGER
) STRICT;
CREATE INDEX item_rank ON item (rank, id) WHERE closed_at IS NULL;
CREATE INDEX item_asset ON item (asset, id);

CREATE TABLE assessment (
  item TEXT NOT NULL REFERENCES item (id),
  at INTEGER NOT NULL,
  digest BLOB NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (item, at)
) STRICT;

CREATE TABLE decision (
  item TEXT NOT NULL REFERENCES item (id),
  at INTEGER NOT NULL,
  mode TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (item, at)
) STRICT;

CREATE TABLE plan (
  hash TEXT PRIMARY KEY,
  body TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

CREATE TABLE approval (
  plan TEXT NOT NULL REFERENCES plan (hash),
  actor TEXT NOT NULL,
  verdict TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (plan, actor)
) STRICT;

CREATE TABLE remediation (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  wave INTEGER NOT NULL,
  is_over INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  requested_by TEXT NOT NULL,
  on_failure TEXT NOT NULL,
  assets TEXT NOT NULL,
  items TEXT NOT NULL,
  plan TEXT REFERENCES plan (hash),
  waiting TEXT,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX remediation_created ON remediation (created_at, id);
CREATE INDEX remediation_live ON remediation (state, id) WHERE is_over = 0;

CREATE TABLE remediation_item (
  item TEXT NOT NULL,
  remediation TEXT NOT NULL REFERENCES remediation (id),
  PRIMARY KEY (item, remediation)
) STRICT;

CREATE TABLE task (
  id TEXT PRIMARY KEY,
  remediation TEXT NOT NULL REFERENCES remediation (id),
  asset TEXT NOT NULL,
  lane TEXT NOT NULL,
  wave INTEGER NOT NULL,
  plan TEXT NOT NULL,
  leaf TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  state TEXT NOT NULL,
  holds_lane INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  items TEXT NOT NULL,
  message TEXT,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX task_lane ON task (asset, lane) WHERE holds_lane = 1;
CREATE INDEX task_remediation ON task (remediation, wave, id);
CREATE INDEX task_state ON task (state, created_at, id);

CREATE TABLE budget (
  scope TEXT NOT NULL,
  span TEXT NOT NULL,
  reserved INTEGER NOT NULL,
  used INTEGER NOT NULL,
  PRIMARY KEY (scope, span)
) STRICT;

CREATE TABLE reservation (
  holder TEXT NOT NULL,
  scope TEXT NOT NULL,
  span TEXT NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (holder, scope, span)
) STRICT;

CREATE TABLE orders (
  id TEXT PRIMARY KEY,
  executor TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  task TEXT,
  state TEXT NOT NULL,
  start_within_seconds INTEGER NOT NULL,
  finish_before INTEGER NOT NULL,
  verb TEXT NOT NULL,
  signed TEXT,
  created_at INTEGER NOT NULL,
  delivered_at INTEGER
) STRICT;
CREATE UNIQUE INDEX orders_position ON orders (executor, epoch, generation);
CREATE INDEX orders_task ON orders (task, generation);

CREATE TABLE receipt (
  order_id TEXT PRIMARY KEY REFERENCES orders (id),
  executor TEXT NOT NULL,
  digest BLOB NOT NULL,
  body TEXT NOT NULL,
  at INTEGER NOT NULL,
  handled_at INTEGER
) STRICT;
CREATE INDEX receipt_unhandled ON receipt (at, order_id) WHERE handled_at IS NULL;

CREATE TABLE verification (
  task TEXT NOT NULL REFERENCES task (id),
  at INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  facts_at INTEGER,
  checks TEXT NOT NULL,
  PRIMARY KEY (task, at)
) STRICT;

CREATE TABLE suppression (
  item TEXT NOT NULL,
  asset TEXT NOT NULL,
  version TEXT NOT NULL,
  until INTEGER,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  lifted_at INTEGER,
  lifted_by TEXT,
  PRIMARY KEY (item, asset, version)
) STRICT;

CREATE TABLE feed (
  name TEXT PRIMARY KEY,
  status TEXT NOT NULL,
  body TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
  hash BLOB PRIMARY KEY,
  actor TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE token (
  hash BLOB PRIMARY KEY,
  purpose TEXT NOT NULL,
  once INTEGER NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  used_at INTEGER
) STRICT;

CREATE TABLE hold (
  scope TEXT PRIMARY KEY,
  level TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  reason TEXT NOT NULL,
  actor TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY,
  topic TEXT NOT NULL,
  subject TEXT NOT NULL
) STRICT;

CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE entry_subject (
  subject TEXT NOT NULL,
  seq INTEGER NOT NULL REFERENCES entry (seq),
  PRIMARY KEY (subject, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE leaf (
  position INTEGER PRIMARY KEY,
  seq INTEGER NOT NULL UNIQUE REFERENCES entry (seq),
  hash BLOB NOT NULL
) STRICT;

CREATE TABLE tree (
  name TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  peaks BLOB NOT NULL,
  oldest_unsigned INTEGER
) STRICT;

CREATE TABLE checkpoint (
  size INTEGER PRIMARY KEY,
  note TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;
