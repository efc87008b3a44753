-- The status messages that an account saw of a person, each once, when it was learnt.
CREATE TABLE status_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    peer_id bigint NOT NULL REFERENCES peer (id),
    value text NOT NULL,
    updated timestamptz NOT NULL
);
CREATE INDEX status_change_of ON status_change (account_id, peer_id, id);
