-- Windows that hosts missed, until they are brought up to date.
CREATE TABLE missed_window (
  asset TEXT NOT NULL,
  remediation TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  shut_at INTEGER NOT NULL,
  why TEXT NOT NULL,
  caught_up_at INTEGER,
  PRIMARY KEY (asset, remediation, shut_at)
) STRICT;

-- When the version that closes something was first offered, as any host's facts or a feed showed it.
CREATE TABLE version_seen (
  ecosystem TEXT NOT NULL,
  source TEXT NOT NULL,
  version TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (ecosystem, source, version)
) STRICT;
