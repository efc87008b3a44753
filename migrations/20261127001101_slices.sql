-- Work that grows with what an account has stored is recorded at once and done in slices.

-- An account without a user is removed: nobody finds it any more, and its rows are deleted in slices, its own row last.
ALTER TABLE account ALTER COLUMN user_id DROP NOT NULL;
CREATE INDEX account_removed ON account (id) WHERE user_id IS NULL;

ALTER TABLE account_counter
    -- Null: the user was deleted; the row goes when its events are gone.
    ALTER COLUMN user_id DROP NOT NULL,
    -- The events up to this number belong to an account that was removed; nobody reads them, and they go in slices.
    ADD COLUMN removed_seq bigint NOT NULL DEFAULT 0;
CREATE INDEX account_counter_removed ON account_counter (id) WHERE user_id IS NULL;

-- Chats whose messages are being marked as read: those stored before a time.
CREATE TABLE read_mark (
    chat_id bigint NOT NULL REFERENCES chat (id) ON DELETE CASCADE,
    -- Whether receipts go to the senders.
    announce boolean NOT NULL,
    before timestamptz NOT NULL,
    PRIMARY KEY (chat_id, announce)
);

-- The oldest of an account's registered accounts is found without reading the others.
CREATE INDEX account_oldest ON account (user_id, created_at, id) WHERE registered_at IS NOT NULL;

-- The unread messages of a chat. The expression serves the statements that mean them, and keeps PostgreSQL from taking the
-- index over all messages of the chat for them, whatever it believes of the table.
CREATE INDEX message_unread_of_chat ON message ((chat_id + 0), stored_at)
    WHERE sender_peer_id IS NOT NULL AND read_at IS NULL;
DROP INDEX message_unread;

-- The groups among the chats of an account.
CREATE INDEX chat_of_group ON chat ((account_id + 0), peer_id) WHERE group_revision IS NOT NULL;

-- Messages that the network did not take at the first attempt: the later ones of their chat wait for them.
CREATE INDEX outbox_postponed ON outbox ((chat_id + 0), (message_id + 0)) WHERE attempts > 0;

-- How many people an account has in its lists, which are capped: counted as they change, whoever changes them.
ALTER TABLE account
    ADD COLUMN contacts integer NOT NULL DEFAULT 0,
    ADD COLUMN blocked integer NOT NULL DEFAULT 0;
UPDATE account a SET
    contacts = (SELECT count(*) FROM contact WHERE account_id = a.id),
    blocked = (SELECT count(*) FROM block WHERE account_id = a.id);

-- The argument is the column that counts.
CREATE FUNCTION count_list() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'UPDATE account a SET %1$I = %1$I + $1 * changed.count
         FROM (SELECT account_id, count(*) FROM changed GROUP BY account_id) changed WHERE a.id = changed.account_id',
        TG_ARGV[0]) USING CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    RETURN NULL;
END $$;

CREATE TRIGGER contact_added AFTER INSERT ON contact REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_list('contacts');
CREATE TRIGGER contact_removed AFTER DELETE ON contact REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_list('contacts');
CREATE TRIGGER block_added AFTER INSERT ON block REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_list('blocked');
CREATE TRIGGER block_removed AFTER DELETE ON block REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_list('blocked');
