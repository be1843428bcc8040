-- The addresses that hosts have, to tell whom others call, and who was seen to call whom. Of calls to anything else
-- nothing is kept.
CREATE TABLE asset_address (
  asset TEXT COLLATE "C" NOT NULL,
  address TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (asset, address)
);
CREATE INDEX asset_address_of ON asset_address (address, asset);

CREATE TABLE seen_edge (
  from_asset TEXT COLLATE "C" NOT NULL,
  to_asset TEXT COLLATE "C" NOT NULL,
  port BIGINT NOT NULL,
  program TEXT COLLATE "C",
  first_seen_at BIGINT NOT NULL,
  last_seen_at BIGINT NOT NULL,
  dismissed BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (from_asset, to_asset, port)
);
CREATE INDEX seen_edge_to ON seen_edge (to_asset);
