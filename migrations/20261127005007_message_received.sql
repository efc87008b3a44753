-- What others wrote in a chat, also where there is little of it among what the account wrote. No other index begins with
-- this expression, so that what asks for it finds no other.
CREATE INDEX message_received ON message ((chat_id * 1), stored_at) WHERE sender_peer_id IS NOT NULL;
