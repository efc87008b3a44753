-- The photo that a person shows. While it is hidden it is the one that was seen last.
ALTER TABLE peer_profile
    ADD COLUMN photo_change_id bigint REFERENCES photo_change (id) ON DELETE SET NULL,
    -- What the network calls it.
    ADD COLUMN photo_reference text,
    ADD COLUMN photo_hidden boolean NOT NULL DEFAULT false;
CREATE INDEX peer_profile_photo_change ON peer_profile (photo_change_id) WHERE photo_change_id IS NOT NULL;
