-- What is read for every executor and every asset must not cost as much as there is of everything.
CREATE INDEX orders_unanswered ON orders (executor, id) WHERE state IN ('waiting', 'delivered');
CREATE INDEX facts_times ON facts (asset, collected_at);

-- One executor a setting: what changes of one is written alone.
INSERT INTO setting (key, value, at)
  SELECT 'executor/' || one.key, one.value, whole.at FROM setting whole, json_each(whole.value) one
  WHERE whole.key = 'executors';
DELETE FROM setting WHERE key = 'executors';
