-- What is at work is read in every pass, and must not cost as much as all that ever was.
CREATE INDEX remediation_open ON remediation (created_at, id) WHERE is_over = 0;
DROP INDEX remediation_live;

-- Items as people name them, and those that are closed.
CREATE INDEX item_name ON item (name) WHERE closed_at IS NULL;
CREATE INDEX item_closed ON item (rank, id) WHERE closed_at IS NOT NULL;
