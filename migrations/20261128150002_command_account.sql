-- The commands of an account that is removed: they name people and groups, and go with it.
CREATE INDEX command_account ON command (account_id);
