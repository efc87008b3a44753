-- The logins of this server. The table is not called "user", which is a reserved word.
CREATE TABLE windu_user (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    password_hash text NOT NULL,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT windu_user_name_key UNIQUE (name)
);

-- Facts of the whole deployment, one row each: for example the fingerprint of the master key.
CREATE TABLE deployment (
    key text PRIMARY KEY,
    value text NOT NULL
);
