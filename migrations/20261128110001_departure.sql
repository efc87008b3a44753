-- What is still to leave its network: an account there whose number was taken over, or a login that this server does not use
-- any more. It is noted before the network is asked and deleted when that has succeeded, so that a network which is away, or a
-- program that is killed, forgets nothing.
CREATE TABLE departure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    network text NOT NULL,
    number text NOT NULL,
    -- The account that it was of, which may be gone. Its adapter's values are encrypted for it.
    account_id bigint NOT NULL,
    -- The login to end, encrypted; null: the account of the number is to be deleted.
    credentials bytea,
    resume_point bytea,
    -- What the adapter kept of the login.
    keys text[] NOT NULL DEFAULT '{}',
    "values" bytea[] NOT NULL DEFAULT '{}',
    attempts integer NOT NULL DEFAULT 0,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The next attempt is not before.
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Until then nobody else asks the network, or registers the number there.
    held_until timestamptz
);
CREATE INDEX departure_due ON departure (due_at);
CREATE INDEX departure_number ON departure (network, number);
