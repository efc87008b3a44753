-- What is published to a message broker: how far, and which process publishes.

-- One row. A process that is no longer alive holds nothing. No foreign key: the process may end while it claims this.
CREATE TABLE broker_lease (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    owner bigint,
    -- Grows by one with each claim, so that an earlier holder's writes fail.
    fence bigint NOT NULL DEFAULT 0
);
INSERT INTO broker_lease DEFAULT VALUES;

-- The place in a user's sequence up to which the broker has acknowledged all events. No row: none was published.
CREATE TABLE broker_position (
    user_id bigint PRIMARY KEY REFERENCES windu_user (id) ON DELETE CASCADE,
    place bigint NOT NULL
) WITH (fillfactor = 50);
