-- The photo of a subscriber of the local network, and its preview.
ALTER TABLE localnet_subscriber
    ADD COLUMN photo bytea REFERENCES media_blob (hash),
    ADD COLUMN photo_preview bytea REFERENCES media_blob (hash);
CREATE INDEX localnet_subscriber_photo ON localnet_subscriber (photo) WHERE photo IS NOT NULL;
CREATE INDEX localnet_subscriber_photo_preview ON localnet_subscriber (photo_preview) WHERE photo_preview IS NOT NULL;
