CREATE TABLE outcome (
  task TEXT NOT NULL,
  action TEXT NOT NULL,
  outcome TEXT NOT NULL,
  system TEXT NOT NULL,
  kind TEXT NOT NULL,
  classification TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (task, action, outcome)
) STRICT;
CREATE INDEX outcome_track ON outcome (action, system, kind, classification, outcome, at);
