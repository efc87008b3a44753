-- A chat's messages are found by the chat alone, and one message by its account and id alone: no index is left that
-- PostgreSQL could take for the other purpose while a table is small, and keep for a plan after it has grown.

ALTER TABLE message ADD CONSTRAINT message_twin_by_id
    UNIQUE NULLS NOT DISTINCT (account_id, network_id, chat_id, sender_peer_id, fingerprint);
ALTER TABLE message DROP CONSTRAINT message_twin_key;
-- Under the name by which statements refer to it.
ALTER TABLE message RENAME CONSTRAINT message_twin_by_id TO message_twin_key;

DROP INDEX message_stored;
CREATE INDEX message_stored ON message (chat_id, stored_at);
DROP INDEX message_delivered;
CREATE INDEX message_delivered ON message (chat_id, delivered_at)
    WHERE sender_peer_id IS NULL AND delivered_at IS NOT NULL;
DROP INDEX message_read;
CREATE INDEX message_read ON message (chat_id, read_at)
    WHERE sender_peer_id IS NULL AND read_at IS NOT NULL;
DROP INDEX message_unread;
CREATE INDEX message_unread ON message (chat_id, stored_at)
    WHERE sender_peer_id IS NOT NULL AND read_at IS NULL;
