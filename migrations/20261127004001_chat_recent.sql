-- The place of a chat in the list of chats, newest first, so that a page of the list is all that is read of it.
--
-- An index over last_at would learn of every message, and with it all other indexes of the table. So the list goes by
-- recent_at, which follows last_at within a minute; whoever lists sorts what lags behind. A chat that is not listed has none:
-- no message is in it, and it is none of a group that the account came into.
--
-- Triggers, so that programs of earlier versions keep it up, too. They run at most twice a minute for a chat.
ALTER TABLE chat
    ADD COLUMN recent_at timestamptz,
    -- last_at is later than recent_at.
    ADD COLUMN lags boolean NOT NULL DEFAULT false;

UPDATE chat h SET recent_at = coalesce(h.last_at, g.created_at, clock_timestamp())
FROM chat o LEFT JOIN chat_group g ON g.peer_id = o.peer_id
WHERE o.id = h.id AND (h.last_at IS NOT NULL OR h.group_revision IS NOT NULL);

CREATE FUNCTION place_chat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.last_at IS NULL THEN
        NEW.recent_at := coalesce(NEW.recent_at, clock_timestamp());
    ELSIF NEW.last_at >= NEW.recent_at AND NEW.last_at < NEW.recent_at + interval '1 minute' THEN
        NEW.lags := NEW.last_at > NEW.recent_at;
    ELSE
        NEW.recent_at := NEW.last_at;
        NEW.lags := false;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER chat_placed BEFORE INSERT ON chat FOR EACH ROW
    WHEN (NEW.last_at IS NOT NULL OR NEW.group_revision IS NOT NULL)
    EXECUTE FUNCTION place_chat();
CREATE TRIGGER chat_moved BEFORE UPDATE OF last_at, group_revision ON chat FOR EACH ROW
    WHEN (CASE WHEN NEW.last_at IS NULL THEN NEW.group_revision IS NOT NULL AND NEW.recent_at IS NULL
          ELSE NEW.recent_at IS NULL OR NEW.last_at < NEW.recent_at
               OR NEW.last_at >= NEW.recent_at + interval '1 minute' OR NEW.lags <> (NEW.last_at > NEW.recent_at) END)
    EXECUTE FUNCTION place_chat();

-- A chat finds room for its next change in its own page.
ALTER TABLE chat SET (fillfactor = 80);

-- Each serves one statement, which negates the account's id as the index does: no other statement can take it, and that one
-- can take no other index, whatever the planner believes of the table's size.
CREATE INDEX chat_recent ON chat ((-account_id), recent_at, id) WHERE recent_at IS NOT NULL;
CREATE INDEX chat_lagging ON chat ((~account_id), recent_at) WHERE lags;
-- The people who wrote.
CREATE INDEX chat_wrote ON chat ((~account_id)) WHERE peer_wrote;
