-- Some networks choose the id of a message that they accept. It is stored beside ours, which clients see; what the network
-- reports about the message names it by that id.
--
-- A table of its own: a message that gets an id later would need a new entry in each index of its table, and messages of
-- networks that take our ids pay nothing.
CREATE TABLE message_remote (
    message_id bigint PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE,
    account_id bigint NOT NULL,
    chat_id bigint NOT NULL,
    remote_id text NOT NULL,
    CONSTRAINT message_remote_key UNIQUE (account_id, remote_id, chat_id)
);

-- Events that name a message by an id that no message has yet: the network may report a receipt before the outcome of the
-- message is stored. They are applied when a message gets the id, and deleted some time later otherwise.
CREATE TABLE early_event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- The other side of the chat: a person or a group.
    peer_id bigint NOT NULL REFERENCES peer (id),
    -- The same person, or a member of the group.
    from_peer_id bigint NOT NULL REFERENCES peer (id),
    remote_id text NOT NULL,
    kind text NOT NULL,
    details jsonb NOT NULL,
    -- SHA-256 of all that: an event that the network repeats is stored once.
    fingerprint bytea NOT NULL,
    -- Of a message that may be one of ours: by the network's clock.
    sent_at timestamptz,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, id),
    CONSTRAINT early_event_fingerprint_key UNIQUE (account_id, fingerprint)
);

-- Each serves one statement, by an account's id as no other index has it.
CREATE INDEX early_event_remote ON early_event ((~account_id), remote_id, id);
CREATE INDEX early_event_sender ON early_event ((-account_id), peer_id, from_peer_id, id);
CREATE INDEX early_event_held ON early_event ((account_id + 0), id) WHERE kind = 'message';
CREATE INDEX early_event_noted ON early_event (noted_at) WHERE kind <> 'message';

-- How many an account has, which is capped: counted as they change.
ALTER TABLE account ADD COLUMN early_events integer NOT NULL DEFAULT 0;
CREATE TRIGGER early_event_added AFTER INSERT ON early_event REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_list('early_events');
CREATE TRIGGER early_event_removed AFTER DELETE ON early_event REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_list('early_events');
