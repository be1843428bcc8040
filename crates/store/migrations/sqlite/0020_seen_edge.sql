-- The addresses that hosts have, to tell whom others call, and who was seen to call whom. Of calls to anything else
-- nothing is kept.
CREATE TABLE asset_address (
  asset TEXT NOT NULL,
  address TEXT NOT NULL,
  PRIMARY KEY (asset, address)
) STRICT;
CREATE INDEX asset_address_of ON asset_address (address, asset);

CREATE TABLE seen_edge (
  from_asset TEXT NOT NULL,
  to_asset TEXT NOT NULL,
  port INTEGER NOT NULL,
  program TEXT,
  first_seen_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  dismissed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (from_asset, to_asset, port)
) STRICT;
CREATE INDEX seen_edge_to ON seen_edge (to_asset);
