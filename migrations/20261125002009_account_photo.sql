-- An account's own photo and its preview.
ALTER TABLE account
    ADD COLUMN photo bytea REFERENCES media_blob (hash),
    ADD COLUMN photo_preview bytea REFERENCES media_blob (hash);
CREATE INDEX account_photo ON account (photo) WHERE photo IS NOT NULL;
CREATE INDEX account_photo_preview ON account (photo_preview) WHERE photo_preview IS NOT NULL;
