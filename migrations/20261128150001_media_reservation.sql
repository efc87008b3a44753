-- The bytes of files that are being sent, so that files that are sent at the same time do not exceed a user's quota together:
-- reserved before a file is stored, and freed when its message is accepted or refused. Those of a killed process expire.
CREATE TABLE media_reservation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES windu_user (id) ON DELETE CASCADE,
    bytes bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX media_reservation_user ON media_reservation (user_id);
CREATE INDEX media_reservation_expired ON media_reservation (expires_at);

-- How often each user has reserved bytes. Whoever has counted a user's bytes reserves more of them only if nobody else has
-- done so since: nothing is counted while a row is locked.
CREATE TABLE media_turn (
    user_id bigint PRIMARY KEY REFERENCES windu_user (id) ON DELETE CASCADE,
    turn bigint NOT NULL
);
