-- Each stage takes up the answers to its own kinds of orders, and does not wait for those of another.
ALTER TABLE receipt ADD COLUMN verb TEXT NOT NULL DEFAULT '';
UPDATE receipt SET verb = (SELECT json_extract(o.verb, '$.verb') FROM orders o WHERE o.id = receipt.order_id);
DROP INDEX receipt_unhandled;
CREATE INDEX receipt_unhandled ON receipt (verb, at, order_id) WHERE handled_at IS NULL;

-- Facts that were taken up are kept as the asset's facts.
UPDATE receipt SET body = '' WHERE verb = 'observe' AND handled_at IS NOT NULL;
