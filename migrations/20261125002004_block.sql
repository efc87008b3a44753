-- Whom an account has blocked.
CREATE TABLE block (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account_id, peer_id)
);
