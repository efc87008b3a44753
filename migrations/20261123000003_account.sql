-- One row per running program. Sessions are leased to a process; its heartbeat says that it lives.
CREATE TABLE process (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);

-- The one row that orders everything about a user's number: event numbers, stored times and the lease.
-- It outlives the account, so that numbers go on when the number is removed and made again.
CREATE TABLE account_counter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES windu_user (id) ON DELETE CASCADE,
    number text NOT NULL,
    epoch text NOT NULL,
    seq bigint NOT NULL DEFAULT 0,
    stored_at timestamptz NOT NULL DEFAULT 'epoch',
    -- The lease: which process runs the session, and a number that grows with each change of hands.
    owner bigint REFERENCES process (id) ON DELETE SET NULL,
    fence bigint NOT NULL DEFAULT 0,
    CONSTRAINT account_counter_user_number_key UNIQUE (user_id, number)
);
CREATE INDEX account_counter_owner ON account_counter (owner);

-- The journal: what a client may want to know, numbered without gaps in commit order.
CREATE TABLE event (
    counter_id bigint NOT NULL REFERENCES account_counter (id) ON DELETE CASCADE,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    PRIMARY KEY (counter_id, seq)
);

CREATE TABLE account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES windu_user (id) ON DELETE CASCADE,
    number text NOT NULL,
    counter_id bigint NOT NULL REFERENCES account_counter (id) ON DELETE CASCADE,
    network text NOT NULL,
    nickname text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Null while the number waits for its code, and after it moved to another user.
    registered_at timestamptz,
    -- A registration is under way until then: the network must not be asked twice at once.
    registering_until timestamptz,
    -- What the network gave us to log in with, sealed.
    credentials bytea,
    -- An opaque position in the network's history, saved together with what was read up to it.
    resume_point bytea,
    session_state text NOT NULL DEFAULT 'stopped',
    session_since timestamptz NOT NULL DEFAULT now(),
    session_reason text,
    session_attempt integer,
    session_until timestamptz,
    CONSTRAINT account_user_number_key UNIQUE (user_id, number)
);
-- A number is registered once per deployment, by who proved it last.
CREATE UNIQUE INDEX account_registered_number_key ON account (number) WHERE registered_at IS NOT NULL;
CREATE INDEX account_counter_id ON account (counter_id);

-- What the user wants the network to show; a session applies it and notes the version that it applied.
CREATE TABLE desired_state (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    aspect text NOT NULL,
    value jsonb NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    applied bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, aspect)
);
CREATE INDEX desired_state_due ON desired_state (account_id) WHERE applied < version;

-- What the API asks the network through the process that holds the lease, and the network's answer.
-- No foreign key: a command that removes the account outlives it.
CREATE TABLE command (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    request jsonb NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'done', 'abandoned')),
    fence bigint,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    deadline timestamptz NOT NULL
);
CREATE INDEX command_due ON command (account_id, id) WHERE state IN ('waiting', 'taken');
CREATE INDEX command_created ON command (created_at);

-- What an adapter must keep for an account.
CREATE TABLE adapter_state (
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    key text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (account_id, key)
);
