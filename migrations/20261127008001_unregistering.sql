-- What an account leaves when it loses its number (queued messages and receipts, groups) is settled in slices: until then,
-- this is true.
ALTER TABLE account ADD COLUMN unregistering boolean NOT NULL DEFAULT false;
CREATE INDEX account_unregistering ON account (id) WHERE unregistering;
