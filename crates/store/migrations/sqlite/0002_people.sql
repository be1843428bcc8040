CREATE TABLE person (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  email TEXT,
  issuer TEXT,
  subject TEXT,
  password TEXT,
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX person_subject ON person (issuer, subject) WHERE issuer IS NOT NULL;

CREATE TABLE team (
  name TEXT PRIMARY KEY,
  about TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE member (
  team TEXT NOT NULL REFERENCES team (name),
  person TEXT NOT NULL REFERENCES person (id),
  source TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (team, person, source)
) STRICT;
CREATE INDEX member_person ON member (person, team);

CREATE TABLE role_grant (
  holder TEXT NOT NULL,
  role TEXT NOT NULL,
  scope TEXT NOT NULL,
  actor TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (holder, role, scope)
) STRICT;

CREATE TABLE connection (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  body TEXT NOT NULL,
  secret BLOB,
  at INTEGER NOT NULL
) STRICT;

CREATE TABLE notice (
  id TEXT PRIMARY KEY,
  connection TEXT NOT NULL,
  event TEXT NOT NULL,
  body TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due INTEGER NOT NULL,
  error TEXT,
  at INTEGER NOT NULL
) STRICT;
CREATE INDEX notice_due ON notice (due, id) WHERE state = 'waiting';
CREATE INDEX notice_at ON notice (at, id);
