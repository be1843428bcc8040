ALTER TABLE item ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE item ADD COLUMN verdict TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE item ADD COLUMN fixed_version TEXT NOT NULL DEFAULT '';
ALTER TABLE item ADD COLUMN action TEXT;
ALTER TABLE item ADD COLUMN deployer TEXT;
ALTER TABLE item ADD COLUMN exploited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE item ADD COLUMN wanted INTEGER;
CREATE INDEX item_wanted ON item (rank, id) WHERE closed_at IS NULL AND wanted = 1;
CREATE INDEX item_action ON item (rank, id) WHERE closed_at IS NULL AND action IS NOT NULL;

UPDATE item SET
  kind = json_extract(body, '$.subject.kind'),
  wanted = (SELECT d.mode <> 'alert' FROM decision d WHERE d.item = item.id ORDER BY d.at DESC LIMIT 1),
  deployer = (SELECT json_extract(a.body, '$.deployer') FROM assessment a WHERE a.item = item.id ORDER BY a.at DESC LIMIT 1),
  exploited = EXISTS (
    SELECT 1 FROM json_each((SELECT json_extract(a.body, '$.members') FROM assessment a WHERE a.item = item.id ORDER BY a.at DESC LIMIT 1)) m
    WHERE json_extract(m.value, '$.enrichment.kev') IS NOT NULL);

-- What only the findings tell is filled in by the detectors, which run again where their last run is forgotten.
DELETE FROM setting WHERE key LIKE 'detection/%';
