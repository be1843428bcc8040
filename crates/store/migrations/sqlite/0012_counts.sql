-- What is decided of many items in the same words is kept once.
CREATE TABLE ruling (
  id INTEGER PRIMARY KEY,
  said TEXT NOT NULL UNIQUE
) STRICT;
INSERT OR IGNORE INTO ruling (said) SELECT json_remove(body, '$.item', '$.at') FROM decision;

CREATE TABLE decided (
  item TEXT NOT NULL REFERENCES item (id),
  at INTEGER NOT NULL,
  ruling INTEGER NOT NULL REFERENCES ruling (id),
  PRIMARY KEY (item, at)
) STRICT, WITHOUT ROWID;
INSERT INTO decided (item, at, ruling)
  SELECT d.item, d.at, r.id FROM decision d JOIN ruling r ON r.said = json_remove(d.body, '$.item', '$.at');
DROP TABLE decision;
ALTER TABLE decided RENAME TO decision;

-- The last of an item's decisions.
ALTER TABLE item ADD COLUMN ruling INTEGER REFERENCES ruling (id);
ALTER TABLE item ADD COLUMN decided_at INTEGER;
UPDATE item SET (decided_at, ruling) = (SELECT d.at, d.ruling FROM decision d WHERE d.item = item.id ORDER BY d.at DESC LIMIT 1);
CREATE INDEX item_ruling ON item (ruling, closed_at) WHERE closed_at IS NULL;

-- How many there are is asked far more often than it changes, and must not cost as much as there are: it is counted for
-- each asset with the change itself, whatever statement makes it.
CREATE TABLE finding_count (
  asset TEXT NOT NULL,
  detector TEXT NOT NULL,
  verdict TEXT NOT NULL,
  open INTEGER NOT NULL,
  closed INTEGER NOT NULL,
  PRIMARY KEY (asset, detector, verdict)
) STRICT, WITHOUT ROWID;
INSERT INTO finding_count (asset, detector, verdict, open, closed)
  SELECT asset, detector, verdict, SUM(closed_at IS NULL), SUM(closed_at IS NOT NULL) FROM finding GROUP BY 1, 2, 3;

CREATE TRIGGER finding_appears AFTER INSERT ON finding BEGIN
  INSERT INTO finding_count (asset, detector, verdict, open, closed)
    VALUES (NEW.asset, NEW.detector, NEW.verdict, NEW.closed_at IS NULL, NEW.closed_at IS NOT NULL)
    ON CONFLICT DO UPDATE SET open = open + excluded.open, closed = closed + excluded.closed;
END;
CREATE TRIGGER finding_changes AFTER UPDATE OF verdict, closed_at ON finding
  WHEN OLD.verdict <> NEW.verdict OR (OLD.closed_at IS NULL) <> (NEW.closed_at IS NULL) BEGIN
  UPDATE finding_count SET open = open - (OLD.closed_at IS NULL), closed = closed - (OLD.closed_at IS NOT NULL)
    WHERE asset = OLD.asset AND detector = OLD.detector AND verdict = OLD.verdict;
  INSERT INTO finding_count (asset, detector, verdict, open, closed)
    VALUES (NEW.asset, NEW.detector, NEW.verdict, NEW.closed_at IS NULL, NEW.closed_at IS NOT NULL)
    ON CONFLICT DO UPDATE SET open = open + excluded.open, closed = closed + excluded.closed;
END;

CREATE TABLE item_count (
  asset TEXT PRIMARY KEY,
  open INTEGER NOT NULL,
  actionable INTEGER NOT NULL,
  urgent INTEGER NOT NULL,
  exploited INTEGER NOT NULL,
  decided INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO item_count (asset, open, actionable, urgent, exploited, decided)
  SELECT asset, SUM(closed_at IS NULL), SUM(closed_at IS NULL AND action IS NOT NULL),
    SUM(closed_at IS NULL AND COALESCE(deployer IN ('immediate', 'out_of_cycle'), 0)),
    SUM(closed_at IS NULL AND exploited), SUM(closed_at IS NULL AND ruling IS NOT NULL) FROM item GROUP BY asset;

CREATE TRIGGER item_appears AFTER INSERT ON item BEGIN
  INSERT INTO item_count (asset, open, actionable, urgent, exploited, decided)
    VALUES (NEW.asset, NEW.closed_at IS NULL, NEW.closed_at IS NULL AND NEW.action IS NOT NULL,
      NEW.closed_at IS NULL AND COALESCE(NEW.deployer IN ('immediate', 'out_of_cycle'), 0),
      NEW.closed_at IS NULL AND NEW.exploited, NEW.closed_at IS NULL AND NEW.ruling IS NOT NULL)
    ON CONFLICT DO UPDATE SET open = open + excluded.open, actionable = actionable + excluded.actionable,
      urgent = urgent + excluded.urgent, exploited = exploited + excluded.exploited,
      decided = decided + excluded.decided;
END;
CREATE TRIGGER item_changes AFTER UPDATE OF closed_at, action, deployer, exploited, ruling ON item
  WHEN (OLD.closed_at IS NULL) <> (NEW.closed_at IS NULL) OR (OLD.action IS NULL) <> (NEW.action IS NULL)
    OR OLD.deployer IS NOT NEW.deployer OR OLD.exploited <> NEW.exploited
    OR (OLD.ruling IS NULL) <> (NEW.ruling IS NULL) BEGIN
  UPDATE item_count SET
    open = open + (NEW.closed_at IS NULL) - (OLD.closed_at IS NULL),
    actionable = actionable + (NEW.closed_at IS NULL AND NEW.action IS NOT NULL)
      - (OLD.closed_at IS NULL AND OLD.action IS NOT NULL),
    urgent = urgent + (NEW.closed_at IS NULL AND COALESCE(NEW.deployer IN ('immediate', 'out_of_cycle'), 0))
      - (OLD.closed_at IS NULL AND COALESCE(OLD.deployer IN ('immediate', 'out_of_cycle'), 0)),
    exploited = exploited + (NEW.closed_at IS NULL AND NEW.exploited) - (OLD.closed_at IS NULL AND OLD.exploited),
    decided = decided + (NEW.closed_at IS NULL AND NEW.ruling IS NOT NULL)
      - (OLD.closed_at IS NULL AND OLD.ruling IS NOT NULL)
    WHERE asset = NEW.asset;
END;

CREATE INDEX remediation_state ON remediation (state);
CREATE INDEX detection_coverage ON detection (asset, with_data, without_feed, packages);
