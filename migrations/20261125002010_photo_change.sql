-- The photos that an account saw of a person, each once, when it was fetched; null: the photo was taken away.
CREATE TABLE photo_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    photo bytea REFERENCES media_blob (hash),
    preview bytea REFERENCES media_blob (hash),
    updated timestamptz NOT NULL
);
CREATE INDEX photo_change_of ON photo_change (account_id, peer_id, id);
CREATE INDEX photo_change_photo ON photo_change (photo) WHERE photo IS NOT NULL;
CREATE INDEX photo_change_preview ON photo_change (preview) WHERE preview IS NOT NULL;

-- The newest photo that the network told of and that has not been fetched, by what the network calls it.
CREATE TABLE pending_photo (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    photo text NOT NULL,
    preview text,
    attempts integer NOT NULL DEFAULT 0,
    retry_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account_id, peer_id)
);
CREATE INDEX pending_photo_due ON pending_photo (retry_at);
