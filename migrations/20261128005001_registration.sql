-- Numbers that a network proves by a code of its own: what is known until the network has accepted the code. It is kept
-- apart from the account's login, which may work meanwhile, and replaces it in one transaction.

-- An account whose number is being proved.
CREATE TABLE registration (
    account_id bigint PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    number text NOT NULL,
    -- Digits of the code; null: the network has sent none.
    code_length smallint,
    -- The network sends no other code before.
    again_at timestamptz,
    -- The network has accepted the code and asks for the password of the account.
    needs_password boolean NOT NULL DEFAULT false,
    -- The new login, sealed, from the network's answer on until it is stored with the account.
    credentials bytea,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX registration_number ON registration (number);
CREATE INDEX registration_updated ON registration (updated_at);

-- What the adapter keeps meanwhile.
CREATE TABLE registration_state (
    account_id bigint NOT NULL REFERENCES registration (account_id) ON DELETE CASCADE,
    key text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (account_id, key)
);

-- The right to speak to a network about the registration of a number, over all accounts with it, for one request. The
-- row goes when the request ends. No foreign key to the process: its end would lock these rows in no order.
CREATE TABLE registration_lease (
    network text NOT NULL,
    number text NOT NULL,
    owner bigint NOT NULL,
    fence bigint NOT NULL,
    held_until timestamptz NOT NULL,
    PRIMARY KEY (network, number)
);
CREATE INDEX registration_lease_owner ON registration_lease (owner);
CREATE INDEX registration_lease_until ON registration_lease (held_until);
-- Fences differ, also after a row was deleted.
CREATE SEQUENCE registration_fence;
