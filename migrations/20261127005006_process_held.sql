-- How many accounts of each network a process holds, as it says itself; null: a process of the previous version, whose
-- leases are counted.
ALTER TABLE process ADD COLUMN held jsonb;
