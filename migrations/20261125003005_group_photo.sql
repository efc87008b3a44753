-- A group's photo and its preview.
ALTER TABLE chat_group
    ADD COLUMN photo bytea REFERENCES media_blob (hash),
    ADD COLUMN photo_preview bytea REFERENCES media_blob (hash);
CREATE INDEX chat_group_photo ON chat_group (photo) WHERE photo IS NOT NULL;
CREATE INDEX chat_group_photo_preview ON chat_group (photo_preview) WHERE photo_preview IS NOT NULL;
