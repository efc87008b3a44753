-- Which networks a process runs: it takes its share of their accounts, and of no others.
-- Null: a process of the previous version, which says nothing; it is taken to run all.
ALTER TABLE process ADD COLUMN networks text[];
