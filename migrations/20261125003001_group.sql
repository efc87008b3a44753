-- Groups, as the networks tell of them: kept once per deployment and network, whoever of its accounts is in one.

-- A group stands among the people who can be talked to: chats, locks and the outbox take it as they take a person.
ALTER TABLE peer ADD COLUMN kind text NOT NULL DEFAULT 'person';

CREATE TABLE chat_group (
    peer_id bigint PRIMARY KEY REFERENCES peer (id),
    subject text NOT NULL,
    creator_peer_id bigint REFERENCES peer (id),
    created_at timestamptz NOT NULL,
    -- Grows with each change: what is told late or twice changes nothing.
    revision bigint NOT NULL
);

CREATE TABLE group_member (
    group_peer_id bigint NOT NULL REFERENCES chat_group (peer_id) ON DELETE CASCADE,
    member_peer_id bigint NOT NULL REFERENCES peer (id),
    admin boolean NOT NULL,
    -- By the network's clock: who came later than a message was stored is not waited for.
    since timestamptz NOT NULL,
    -- In which order they came.
    position integer NOT NULL,
    PRIMARY KEY (group_peer_id, member_peer_id)
);
CREATE INDEX group_member_of ON group_member (member_peer_id, group_peer_id);
