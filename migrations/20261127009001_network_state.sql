-- What an adapter must keep for its network as a whole. The collation makes the keys with one beginning a range of the index.
CREATE TABLE network_state (
    network text NOT NULL,
    key text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (network, key)
);
