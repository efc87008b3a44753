-- What an account was told of a group, alone in its file: sends wait for a table that is changed.

ALTER TABLE chat
    -- The newest change that this account was told; null: it was told of no group here since it was registered.
    ADD COLUMN group_revision bigint,
    -- The subject as the account heard it last: whoever left hears of no later one.
    ADD COLUMN group_subject text;
