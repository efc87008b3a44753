-- The codes that prove a number: what is pending, and what was sent and guessed lately, for the limits.

-- Codes of an account that wait to be entered. The newest one counts; an older one stays below it only until
-- the newer one's sender has answered, so that a sender that refuses leaves the older code usable.
CREATE TABLE verification_code (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    -- HMAC over (user, number, code); the code itself is kept nowhere.
    mac bytea NOT NULL,
    method text NOT NULL CHECK (method IN ('sms', 'voice')),
    guesses integer NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL
);
CREATE INDEX verification_code_account ON verification_code (account_id, id);
CREATE INDEX verification_code_expires ON verification_code (expires_at);

-- Every code that was handed to the sender. It refers to the user and the number, not to the account: removing
-- an account and making it again does not start the limits anew.
CREATE TABLE code_sent (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint REFERENCES windu_user (id) ON DELETE SET NULL,
    number text NOT NULL,
    -- The sender surely sent nothing: the number may ask again at once, the daily limits count it all the same.
    refused boolean NOT NULL DEFAULT false,
    sent_at timestamptz NOT NULL
);
CREATE INDEX code_sent_user ON code_sent (user_id, sent_at);
CREATE INDEX code_sent_number ON code_sent (number, sent_at);
CREATE INDEX code_sent_at ON code_sent (sent_at);

-- Guesses that were wrong, and those that are being compared at this moment.
CREATE TABLE code_guess (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES windu_user (id) ON DELETE CASCADE,
    guessed_at timestamptz NOT NULL
);
CREATE INDEX code_guess_user ON code_guess (user_id, guessed_at);
CREATE INDEX code_guess_at ON code_guess (guessed_at);

-- When the number was last proved. Null: never; such accounts are limited per user. An account whose number has
-- moved to another user was proved once, so it does not count as one of them.
ALTER TABLE account ADD COLUMN proved_at timestamptz;
