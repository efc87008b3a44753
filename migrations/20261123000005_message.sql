-- Who can be talked to on a network. A person without a number has a public id instead: x and digits.
CREATE TABLE peer (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network text NOT NULL,
    address text NOT NULL,
    number text,
    public_id text NOT NULL,
    CONSTRAINT peer_network_address_key UNIQUE (network, address),
    CONSTRAINT peer_network_public_id_key UNIQUE (network, public_id)
);
CREATE SEQUENCE peer_public_id START 100000;

CREATE TABLE contact (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    first_name text NOT NULL DEFAULT '',
    last_name text NOT NULL DEFAULT '',
    -- Whether the network knows the number, as the last sync or a message of theirs told.
    exists_there boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, peer_id)
);

-- What the network told an account about a person.
CREATE TABLE peer_profile (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    nickname text NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, peer_id)
);

CREATE TABLE chat (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    -- Whether the other side ever wrote: then it may be written to without being in the contact list.
    peer_wrote boolean NOT NULL DEFAULT false,
    unread integer NOT NULL DEFAULT 0,
    last_message_id bigint,
    last_at timestamptz,
    CONSTRAINT chat_account_peer_key UNIQUE (account_id, peer_id)
);
CREATE INDEX chat_last ON chat (account_id, last_at);

CREATE TABLE message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    chat_id bigint NOT NULL REFERENCES chat (id) ON DELETE CASCADE,
    -- The id on the network; of an outgoing message chosen by us before it is sent.
    network_id text NOT NULL,
    -- Null: the account itself.
    sender_peer_id bigint REFERENCES peer (id),
    state text NOT NULL CHECK (state IN ('queued', 'sent', 'failed', 'received')),
    failure text,
    type text NOT NULL,
    text text,
    -- SHA-256 of the content: the same id with another content is another message.
    fingerprint bytea NOT NULL,
    stored_at timestamptz NOT NULL,
    sent_at timestamptz,
    delivered_at timestamptz,
    read_at timestamptz,
    CONSTRAINT message_twin_key UNIQUE NULLS NOT DISTINCT (account_id, chat_id, network_id, sender_peer_id, fingerprint)
);
CREATE INDEX message_stored ON message (account_id, chat_id, stored_at);
CREATE INDEX message_delivered ON message (account_id, chat_id, delivered_at)
    WHERE sender_peer_id IS NULL AND delivered_at IS NOT NULL;
CREATE INDEX message_read ON message (account_id, chat_id, read_at)
    WHERE sender_peer_id IS NULL AND read_at IS NOT NULL;
CREATE INDEX message_unread ON message (account_id, chat_id, stored_at)
    WHERE sender_peer_id IS NOT NULL AND read_at IS NULL;

-- Messages that the API accepted and the network has not taken yet.
CREATE TABLE outbox (
    message_id bigint PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    chat_id bigint NOT NULL REFERENCES chat (id) ON DELETE CASCADE,
    attempts integer NOT NULL DEFAULT 0,
    retry_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX outbox_account ON outbox (account_id, message_id);
CREATE INDEX outbox_expires ON outbox (expires_at);

-- Read receipts that the network has not taken yet.
CREATE TABLE receipt_outbox (
    message_id bigint PRIMARY KEY REFERENCES message (id) ON DELETE CASCADE,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE
);
CREATE INDEX receipt_outbox_account ON receipt_outbox (account_id, message_id);
