-- Windows that hosts missed, until they are brought up to date.
CREATE TABLE missed_window (
  asset TEXT COLLATE "C" NOT NULL,
  remediation TEXT COLLATE "C" NOT NULL,
  opened_at BIGINT NOT NULL,
  shut_at BIGINT NOT NULL,
  why TEXT COLLATE "C" NOT NULL,
  caught_up_at BIGINT,
  PRIMARY KEY (asset, remediation, shut_at)
);

-- When the version that closes something was first offered, as any host's facts or a feed showed it.
CREATE TABLE version_seen (
  ecosystem TEXT COLLATE "C" NOT NULL,
  source TEXT COLLATE "C" NOT NULL,
  version TEXT COLLATE "C" NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (ecosystem, source, version)
);
