-- Windows missed because the host was away, which it may catch up with; of those before it is not known.
ALTER TABLE missed_window ADD COLUMN away BIGINT NOT NULL DEFAULT 0;
-- Bad patches name their ecosystem. Until now there was none but that of Debian.
UPDATE hold SET scope = 'version/pkg:deb/' || replace(replace(substr(scope, 9), '/', '@'), '+', '%2B')
  WHERE scope LIKE 'version/%/%' AND scope NOT LIKE 'version/pkg:%';
