-- How executors get in: what their tokens are known by, how often and until when they work, and what hosts become by them.
CREATE TABLE enrolment (
  name TEXT PRIMARY KEY,
  digest BLOB NOT NULL UNIQUE,
  uses INTEGER NOT NULL,
  used INTEGER NOT NULL DEFAULT 0,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

-- Executors are a noun of their own. Polls of one may be written down in another order than they came: only newer ones count.
CREATE TABLE executor (
  id TEXT PRIMARY KEY,
  revision INTEGER NOT NULL,
  body TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;
INSERT INTO executor (id, revision, body, at)
  SELECT substr(key, length('executor/') + 1), 1, value, at FROM setting WHERE key >= 'executor/' AND key < 'executor0';
DELETE FROM setting WHERE key >= 'executor/' AND key < 'executor0';
