-- The network inside this program: its subscribers, and what waits for them.
CREATE TABLE localnet_subscriber (
    number text PRIMARY KEY,
    -- Changes with each registration: a session of an earlier owner no longer fits.
    incarnation text NOT NULL,
    nickname text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A subscriber's mailbox, emptied as its session acknowledges.
CREATE TABLE localnet_stanza (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text NOT NULL REFERENCES localnet_subscriber (number) ON DELETE CASCADE,
    sender text NOT NULL,
    stanza jsonb NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX localnet_stanza_recipient ON localnet_stanza (recipient, id);

-- Who wants to hear of whose profile.
CREATE TABLE localnet_watch (
    watched text NOT NULL,
    watcher text NOT NULL REFERENCES localnet_subscriber (number) ON DELETE CASCADE,
    PRIMARY KEY (watched, watcher)
);
