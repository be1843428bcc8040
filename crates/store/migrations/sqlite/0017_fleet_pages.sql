-- Assets are listed by their names, page by page, and narrowed by what people say of them.
ALTER TABLE asset ADD COLUMN environment TEXT;
ALTER TABLE asset ADD COLUMN owner TEXT;
UPDATE asset SET environment = json_extract(body, '$.environment'), owner = json_extract(body, '$.owner');
CREATE INDEX asset_name ON asset (name, id);
CREATE INDEX asset_kind ON asset (kind, name, id);

-- What lists show of facts must not cost as much as the facts.
ALTER TABLE facts ADD COLUMN os TEXT NOT NULL DEFAULT '';
UPDATE facts SET os = COALESCE(json_extract(body, '$.os.pretty_name'), '');
DROP INDEX facts_times;
CREATE INDEX facts_times ON facts (asset, collected_at, os);
CREATE INDEX facts_collected ON facts (collected_at, asset);

ALTER TABLE executor ADD COLUMN asset TEXT NOT NULL DEFAULT '';
ALTER TABLE executor ADD COLUMN standing TEXT NOT NULL DEFAULT 'in';
ALTER TABLE executor ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
UPDATE executor SET asset = COALESCE(json_extract(body, '$.asset.id'), ''), seen_at = at, standing = CASE
  WHEN json_extract(body, '$.frozen') LIKE 'put out by %' THEN 'put_out'
  WHEN json_extract(body, '$.frozen') IS NOT NULL THEN 'frozen'
  WHEN json_extract(body, '$.confirmed') = 0 THEN 'unconfirmed' ELSE 'in' END;
UPDATE executor SET body = json_set(body, '$.put_out', json('true')) WHERE standing = 'put_out';
CREATE INDEX executor_asset ON executor (asset);
CREATE INDEX executor_standing ON executor (standing, asset) WHERE standing <> 'in';

-- Whether a rule fired, and whether the risk was accepted.
ALTER TABLE ruling ADD COLUMN fires INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ruling ADD COLUMN accepted INTEGER NOT NULL DEFAULT 0;
UPDATE ruling SET fires = COALESCE(json_array_length(said, '$.fired'), 0) > 0,
  accepted = json_extract(said, '$.accepted') IS NOT NULL;

ALTER TABLE item_count ADD COLUMN ruled INTEGER NOT NULL DEFAULT 0;
UPDATE item_count SET ruled = (SELECT COUNT(*) FROM item JOIN ruling ON ruling.id = item.ruling
  WHERE item.asset = item_count.asset AND item.closed_at IS NULL AND ruling.fires);
CREATE INDEX item_count_unruled ON item_count (asset) WHERE decided > 0 AND ruled = 0;

CREATE INDEX item_release ON item (asset) WHERE kind = 'support' AND name = 'release' AND closed_at IS NULL;

DROP TRIGGER item_appears;
DROP TRIGGER item_changes;
CREATE TRIGGER item_appears AFTER INSERT ON item BEGIN
  INSERT INTO item_count (asset, open, actionable, urgent, exploited, decided, ruled)
    VALUES (NEW.asset, NEW.closed_at IS NULL, NEW.closed_at IS NULL AND NEW.action IS NOT NULL,
      NEW.closed_at IS NULL AND COALESCE(NEW.deployer IN ('immediate', 'out_of_cycle'), 0),
      NEW.closed_at IS NULL AND NEW.exploited, NEW.closed_at IS NULL AND NEW.ruling IS NOT NULL,
      NEW.closed_at IS NULL AND COALESCE((SELECT fires FROM ruling WHERE id = NEW.ruling), 0))
    ON CONFLICT DO UPDATE SET open = open + excluded.open, actionable = actionable + excluded.actionable,
      urgent = urgent + excluded.urgent, exploited = exploited + excluded.exploited,
      decided = decided + excluded.decided, ruled = ruled + excluded.ruled;
END;
CREATE TRIGGER item_changes AFTER UPDATE OF closed_at, action, deployer, exploited, ruling ON item
  WHEN (OLD.closed_at IS NULL) <> (NEW.closed_at IS NULL) OR (OLD.action IS NULL) <> (NEW.action IS NULL)
    OR OLD.deployer IS NOT NEW.deployer OR OLD.exploited <> NEW.exploited
    OR OLD.ruling IS NOT NEW.ruling BEGIN
  UPDATE item_count SET
    open = open + (NEW.closed_at IS NULL) - (OLD.closed_at IS NULL),
    actionable = actionable + (NEW.closed_at IS NULL AND NEW.action IS NOT NULL)
      - (OLD.closed_at IS NULL AND OLD.action IS NOT NULL),
    urgent = urgent + (NEW.closed_at IS NULL AND COALESCE(NEW.deployer IN ('immediate', 'out_of_cycle'), 0))
      - (OLD.closed_at IS NULL AND COALESCE(OLD.deployer IN ('immediate', 'out_of_cycle'), 0)),
    exploited = exploited + (NEW.closed_at IS NULL AND NEW.exploited) - (OLD.closed_at IS NULL AND OLD.exploited),
    decided = decided + (NEW.closed_at IS NULL AND NEW.ruling IS NOT NULL)
      - (OLD.closed_at IS NULL AND OLD.ruling IS NOT NULL),
    ruled = ruled + (NEW.closed_at IS NULL AND COALESCE((SELECT fires FROM ruling WHERE id = NEW.ruling), 0))
      - (OLD.closed_at IS NULL AND COALESCE((SELECT fires FROM ruling WHERE id = OLD.ruling), 0))
    WHERE asset = NEW.asset;
END;

-- Under which names a problem is known, whoever numbered it, and where it was found.
CREATE TABLE alias (
  name TEXT NOT NULL COLLATE NOCASE,
  advisory TEXT NOT NULL,
  PRIMARY KEY (name, advisory)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO alias (name, advisory) SELECT DISTINCT id, id FROM finding WHERE detector = 'advisory';
INSERT OR IGNORE INTO alias (name, advisory)
  SELECT one.value, finding.id FROM finding, json_each(finding.body, '$.aliases') one WHERE detector = 'advisory';
INSERT OR IGNORE INTO alias (name, advisory)
  SELECT substr(name, instr(name, 'CVE-')), advisory FROM alias WHERE instr(name, 'CVE-') > 1;
CREATE INDEX alias_advisory ON alias (advisory);
CREATE INDEX finding_advisory ON finding (id, asset) WHERE detector = 'advisory';
