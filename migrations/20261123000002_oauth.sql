-- OAuth clients, what they were granted, and the throttle of logins.

CREATE TABLE oauth_client (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What the client calls itself in requests; public.
    client_id text NOT NULL,
    -- What people call it on the command line.
    name text NOT NULL,
    -- SHA-256 of the secret (256 random bits, so no slow hash is needed); null: a public client.
    secret_hash bytea CHECK (length(secret_hash) = 32),
    scope text NOT NULL DEFAULT 'read write',
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT oauth_client_client_id_key UNIQUE (client_id),
    CONSTRAINT oauth_client_name_key UNIQUE (name)
);

-- The public client of the API's old documents.
INSERT INTO oauth_client (client_id, name) VALUES ('RoVMZF1EIpC2vcfGC864gr4NZsv0mJlyPlE3gtQY', 'default');

-- One login of a user through a client: the family of all token pairs that follow from it. Revoked is deleted.
CREATE TABLE oauth_grant (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES windu_user (id) ON DELETE CASCADE,
    client_id bigint NOT NULL REFERENCES oauth_client (id) ON DELETE CASCADE,
    scope text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX oauth_grant_user ON oauth_grant (user_id);
CREATE INDEX oauth_grant_client ON oauth_grant (client_id);

-- A pair of an access and a refresh token, by their SHA-256. A used pair stays until its refresh token would have
-- expired, so that a second use is noticed.
CREATE TABLE oauth_token (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    grant_id bigint NOT NULL REFERENCES oauth_grant (id) ON DELETE CASCADE,
    parent_id bigint REFERENCES oauth_token (id) ON DELETE SET NULL,
    access_hash bytea NOT NULL CHECK (length(access_hash) = 32),
    -- A refresh may ask for less than the grant's scope.
    access_scope text NOT NULL,
    access_expires_at timestamptz NOT NULL,
    refresh_hash bytea NOT NULL CHECK (length(refresh_hash) = 32),
    refresh_expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When the refresh token was used; from then on the access token is dead too.
    used_at timestamptz,
    -- For 10 s after that the pair that was given for it, sealed with a key that only the refresh token gives.
    sealed_successor bytea,
    CONSTRAINT oauth_token_access_key UNIQUE (access_hash),
    CONSTRAINT oauth_token_refresh_key UNIQUE (refresh_hash)
);
CREATE INDEX oauth_token_grant ON oauth_token (grant_id);
CREATE INDEX oauth_token_parent ON oauth_token (parent_id);
CREATE INDEX oauth_token_expiry ON oauth_token (refresh_expires_at);
CREATE INDEX oauth_token_sealed ON oauth_token (used_at) WHERE sealed_successor IS NOT NULL;

-- Failed logins per user name and address. Names are kept as SHA-256: people type passwords into the wrong field.
CREATE TABLE login_failure (
    name_hash bytea NOT NULL,
    address text NOT NULL,
    failures integer NOT NULL,
    failed_at timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL,
    PRIMARY KEY (name_hash, address)
);
CREATE INDEX login_failure_failed ON login_failure (failed_at);

-- Failed logins per user name and hour, from addresses that never signed in as that user.
CREATE TABLE login_stranger (
    name_hash bytea PRIMARY KEY,
    failures integer NOT NULL,
    hour_began_at timestamptz NOT NULL
);
CREATE INDEX login_stranger_hour ON login_stranger (hour_began_at);

-- Addresses from which a user signed in.
CREATE TABLE login_address (
    user_id bigint NOT NULL REFERENCES windu_user (id) ON DELETE CASCADE,
    address text NOT NULL,
    signed_in_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, address)
);
CREATE INDEX login_address_signed_in ON login_address (signed_in_at);
