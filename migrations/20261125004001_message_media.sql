-- Messages that are more than text, and the files of messages.

-- What a message has beside its text (of media the caption, of a card the name): a file's facts, a place, a card.
-- Null for plain text.
ALTER TABLE message ADD COLUMN details jsonb;

-- The file of a message. While the network still has it there is no hash, and retry_at says when it is fetched next;
-- with neither it is lost.
CREATE TABLE message_media (
    message_id bigint PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE,
    account_id bigint NOT NULL,
    hash bytea REFERENCES media_blob (hash),
    attempts integer NOT NULL DEFAULT 0,
    retry_at timestamptz
);
CREATE INDEX message_media_hash ON message_media (hash, account_id) WHERE hash IS NOT NULL;
CREATE INDEX message_media_due ON message_media (account_id, retry_at) WHERE retry_at IS NOT NULL;

-- The files that the network inside this program keeps for receivers that have not fetched them yet.
CREATE TABLE localnet_media (
    reference text PRIMARY KEY,
    hash bytea NOT NULL REFERENCES media_blob (hash),
    uploaded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX localnet_media_hash ON localnet_media (hash);
CREATE INDEX localnet_media_uploaded ON localnet_media (uploaded_at);
