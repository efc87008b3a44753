-- What a repeated request must know of a first one whose program ended in the middle.

ALTER TABLE idempotency_key
    -- What the request asked of a session, until it is answered: a repeat waits for this command, it does not ask anew.
    ADD COLUMN command_id bigint REFERENCES command (id) ON DELETE SET NULL,
    -- The answer counts once the process has ended. Until then the request runs, and may be answered otherwise.
    ADD COLUMN provisional boolean NOT NULL DEFAULT false;
CREATE INDEX idempotency_key_command ON idempotency_key (command_id) WHERE command_id IS NOT NULL;
