-- Webhooks: URLs that the events of a user are posted to. How far each got is stored here alone, so that any process goes
-- on from there.

CREATE TABLE webhook (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id text NOT NULL UNIQUE,
    -- Null: deleted; what it has left is deleted in slices.
    user_id bigint REFERENCES windu_user (id) ON DELETE SET NULL,
    url text NOT NULL,
    -- As they were given; null: all that are stored.
    types text[],
    -- Numbers; null: all of the user, later ones too.
    accounts text[],
    description text NOT NULL DEFAULT '',
    active boolean NOT NULL,
    -- Why the server made it inactive: gone or failing; null: its owner did, or it is active.
    disabled text,
    -- Since when it is in its state.
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Sealed; the old one signs, too, until its time.
    secret bytea NOT NULL,
    old_secret bytea,
    old_until timestamptz,
    -- Raised by each change that its owner makes.
    version bigint NOT NULL DEFAULT 1,
    -- The events up to this place of the user's sequence were accepted or set aside, but those in webhook_account.
    place bigint NOT NULL,
    -- Raised when its owner skips what waits: rows of the tables below with a lower number do not count any more.
    skips bigint NOT NULL DEFAULT 0,
    -- Since the first failed attempt after the last accepted one, with that one's error.
    failing_since timestamptz,
    failure text,
    -- Of the attempts that failed because of the receiver, and the time of the next one.
    failures integer NOT NULL DEFAULT 0,
    retry_at timestamptz,
    -- webhook.failing was written.
    is_reported boolean NOT NULL DEFAULT false,
    -- The process that sends, and a number that grows with each claim. No foreign key to the process: its end would lock
    -- these rows in no order.
    owner bigint,
    fence bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX webhook_of_user ON webhook (user_id, id);
CREATE INDEX webhook_active ON webhook (id) WHERE active AND user_id IS NOT NULL;
CREATE INDEX webhook_free ON webhook (id) WHERE active AND user_id IS NOT NULL AND owner IS NULL;
CREATE INDEX webhook_of_owner ON webhook (owner, id) WHERE owner IS NOT NULL;

-- The accounts whose events wait behind the place of their webhook.
CREATE TABLE webhook_account (
    webhook_id bigint NOT NULL,
    counter_id bigint NOT NULL,
    skips bigint NOT NULL,
    -- Everything up to this place, and up to this number of the journal, was accepted, set aside or left out.
    place bigint NOT NULL,
    seq bigint NOT NULL,
    -- Of the event after that: attempts, how many of them the receiver refused, and the time of the next one.
    attempts integer NOT NULL,
    refusals integer NOT NULL,
    retry_at timestamptz,
    PRIMARY KEY (webhook_id, counter_id)
);

-- Events that are sent beside the new ones: those that were set aside, and those that are sent again by request.
CREATE TABLE webhook_redelivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id bigint NOT NULL,
    counter_id bigint NOT NULL,
    skips bigint NOT NULL,
    place bigint NOT NULL,
    is_replay boolean NOT NULL,
    -- No other event waits for this one; else those of the account are sent in the order of their ids.
    is_alone boolean NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    refusals integer NOT NULL DEFAULT 0,
    retry_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- It is dead after this time.
    expires_at timestamptz NOT NULL
);
CREATE INDEX webhook_redelivery_alone ON webhook_redelivery (webhook_id, retry_at) WHERE is_alone;
CREATE INDEX webhook_redelivery_in_order ON webhook_redelivery (webhook_id, counter_id, id) WHERE NOT is_alone;
CREATE INDEX webhook_redelivery_of_webhook ON webhook_redelivery (webhook_id, place);

CREATE TABLE webhook_attempt (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id bigint NOT NULL,
    event_id text NOT NULL,
    kind text NOT NULL,
    -- The number; null: the event is about the user.
    account text,
    seq bigint NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    milliseconds integer NOT NULL,
    status smallint,
    error text,
    detail text,
    response text,
    next_at timestamptz,
    is_replay boolean NOT NULL
);
CREATE INDEX webhook_attempt_of_webhook ON webhook_attempt (webhook_id, id);
CREATE INDEX webhook_attempt_of_event ON webhook_attempt (webhook_id, event_id, id);
CREATE INDEX webhook_attempt_failed ON webhook_attempt (webhook_id, id) WHERE error IS NOT NULL;
CREATE INDEX webhook_attempt_age ON webhook_attempt (at);

-- Events that were given up.
CREATE TABLE webhook_dead (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id bigint NOT NULL,
    counter_id bigint NOT NULL,
    place bigint NOT NULL,
    event_id text NOT NULL,
    kind text NOT NULL,
    account text,
    seq bigint NOT NULL,
    stored_at timestamptz NOT NULL,
    died_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    status smallint,
    error text
);
CREATE INDEX webhook_dead_of_webhook ON webhook_dead (webhook_id, id);
CREATE UNIQUE INDEX webhook_dead_of_event ON webhook_dead (webhook_id, place);
CREATE INDEX webhook_dead_age ON webhook_dead (stored_at);
