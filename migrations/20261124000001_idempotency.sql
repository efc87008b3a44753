-- The keys under which callers repeat a POST until they have its answer.

-- A request's claim on its key, and once there is one, the first answer.
CREATE TABLE idempotency_key (
    user_id bigint NOT NULL REFERENCES windu_user (id) ON DELETE CASCADE,
    -- Method and pattern of the path.
    route text NOT NULL,
    key text NOT NULL,
    -- Changes with each claim, so that an earlier claimant writes nothing any more.
    claim bigint GENERATED ALWAYS AS IDENTITY,
    -- SHA-256 over the parameters: another request must not use the key.
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
    -- Who runs the request. Without its heartbeat the claim is free. No foreign key: a process that has left has no
    -- heartbeat either.
    process_id bigint NOT NULL,
    -- Null: the request still runs.
    status smallint,
    content_type text,
    body bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, route, key),
    CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX idempotency_key_created ON idempotency_key (created_at);
