-- The photo of a group of the local network, and its preview.
ALTER TABLE localnet_group
    ADD COLUMN photo bytea REFERENCES media_blob (hash),
    ADD COLUMN photo_preview bytea REFERENCES media_blob (hash);
CREATE INDEX localnet_group_photo ON localnet_group (photo) WHERE photo IS NOT NULL;
CREATE INDEX localnet_group_photo_preview ON localnet_group (photo_preview) WHERE photo_preview IS NOT NULL;
