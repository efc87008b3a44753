-- Who of a group has what an account sent into it, until all who should have read it.
CREATE TABLE message_receipt (
    message_id bigint NOT NULL REFERENCES message (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    -- By the time of this server.
    delivered_at timestamptz NOT NULL,
    read_at timestamptz,
    PRIMARY KEY (message_id, peer_id)
);
