-- A network may show each account other people, or other numbers of the same people: what one account knows must not show in
-- the answers to another. Such an account has a directory of its own: the name that its peers have in place of the network's.
-- Null: the network's name.
ALTER TABLE account ADD COLUMN directory text;
