-- What a subscriber of the local network shows, and to whom.
ALTER TABLE localnet_subscriber
    ADD COLUMN status_message text NOT NULL DEFAULT '',
    ADD COLUMN online boolean NOT NULL DEFAULT false,
    -- When it was last online, once it has been.
    ADD COLUMN last_seen timestamptz,
    ADD COLUMN privacy_status_message text NOT NULL DEFAULT 'all',
    ADD COLUMN privacy_photo text NOT NULL DEFAULT 'all',
    ADD COLUMN privacy_last_seen text NOT NULL DEFAULT 'all';
