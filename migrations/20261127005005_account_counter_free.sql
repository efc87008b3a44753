-- The numbers that nobody holds.
CREATE INDEX account_counter_free ON account_counter (network, id) WHERE owner IS NULL AND network IS NOT NULL;
