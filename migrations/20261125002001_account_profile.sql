-- What an account shows of itself beside its nickname, and to whom.
ALTER TABLE account
    ADD COLUMN status_message text NOT NULL DEFAULT '',
    -- What the user wants others to see, kept over restarts; not whether a session runs.
    ADD COLUMN connected boolean NOT NULL DEFAULT false,
    ADD COLUMN privacy_status_message text NOT NULL DEFAULT 'all'
        CHECK (privacy_status_message IN ('none', 'contacts', 'all')),
    ADD COLUMN privacy_photo text NOT NULL DEFAULT 'all' CHECK (privacy_photo IN ('none', 'contacts', 'all')),
    ADD COLUMN privacy_last_seen text NOT NULL DEFAULT 'all' CHECK (privacy_last_seen IN ('none', 'contacts', 'all'));
