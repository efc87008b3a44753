-- The received messages of a chat, for lists without those that the account sent. The chat's id is negated as in the only
-- statement that this index is for.
CREATE INDEX message_received ON message ((-chat_id), stored_at) WHERE sender_peer_id IS NOT NULL;
