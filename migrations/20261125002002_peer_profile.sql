-- What the network told an account about a person. What is hidden keeps the value that was last seen.
ALTER TABLE peer_profile
    ADD COLUMN status_message text NOT NULL DEFAULT '',
    ADD COLUMN status_hidden boolean NOT NULL DEFAULT false,
    -- Null: nothing was ever told.
    ADD COLUMN online boolean,
    -- When a person who is offline was last online; null: never seen.
    ADD COLUMN last_seen timestamptz,
    ADD COLUMN presence_hidden boolean NOT NULL DEFAULT false;
