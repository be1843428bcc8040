-- Entries of which retention took the payload; the hash of the leaf stays.
ALTER TABLE entry ADD COLUMN bare INTEGER NOT NULL DEFAULT 0;

-- Of which remediations and assets nothing is taken away.
CREATE TABLE retention_hold (
  subject TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  actor TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

-- What is old is found without a walk over what is not.
CREATE INDEX orders_age ON orders (created_at) WHERE task IS NULL;
CREATE INDEX receipt_age ON receipt (at) WHERE body <> '';
CREATE INDEX finding_age ON finding (closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX item_age ON item (closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX remediation_age ON remediation (updated_at) WHERE is_over = 1;
-- What points to a row is found when the row goes.
CREATE INDEX remediation_plan ON remediation (plan);
CREATE INDEX task_plan ON task (plan);
CREATE INDEX remediation_item_of ON remediation_item (remediation);
CREATE INDEX case_item_of ON case_item (case_id);

CREATE TRIGGER finding_goes AFTER DELETE ON finding BEGIN
  UPDATE finding_count SET open = open - (OLD.closed_at IS NULL), closed = closed - (OLD.closed_at IS NOT NULL)
    WHERE asset = OLD.asset AND detector = OLD.detector AND verdict = OLD.verdict;
END;
