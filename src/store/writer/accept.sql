-- Accepts messages of the API, of many accounts: checks, messages, outbox, chats, events and counters in one statement.
-- accept.rs says what the parameters are.
--
-- The statement sees the database as of its begin, and locks rows after that. An account whose counter row has another
-- version (ctid) by then has changed in between: it is left out, as an account whose rows are locked is. So nothing is
-- queued behind the back of who unregisters the account or takes its contact away.
--
-- MATERIALIZED: evaluated once, in this order. LIMIT 1 in a LATERAL query: looked up by its key for each row, whatever the
-- planner believes of the table's size.

-- 1. Lock: the chat and the counter that messages of one target need. A target whose locks are not free has no row.
WITH target AS MATERIALIZED (
    SELECT t.position - 1 AS target, t.account_id, chat.id AS chat_id, counter.id AS counter_id, counter.seq, counter.now,
           a.registered_at IS NOT NULL AND older.found IS NULL AND writable.allowed AS allowed,
           $1 - (SELECT count(*) FROM (
               SELECT 1 FROM outbox o WHERE o.account_id = t.account_id LIMIT $1) AS waiting) AS room
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[])
         WITH ORDINALITY AS t (peer_id, account_id, counter_id, named, position)
    CROSS JOIN LATERAL (
        SELECT id FROM chat WHERE account_id = t.account_id AND peer_id = t.peer_id
        FOR NO KEY UPDATE SKIP LOCKED) chat
    CROSS JOIN LATERAL (
        SELECT id, ctid AS version, seq, greatest(statement_timestamp(), stored_at) AS now FROM account_counter
        WHERE id = t.counter_id FOR NO KEY UPDATE SKIP LOCKED) counter
    CROSS JOIN LATERAL (
        SELECT 1 FROM account_counter before
        WHERE before.id = counter.id AND before.ctid = counter.version LIMIT 1) unchanged
    CROSS JOIN LATERAL (SELECT * FROM account WHERE id = t.account_id LIMIT 1) a
    CROSS JOIN LATERAL (
        SELECT allowed FROM writable_chat WHERE account_id = t.account_id AND peer_id = t.peer_id LIMIT 1) writable
    -- A caller that named no account means the oldest one that is registered.
    LEFT JOIN LATERAL (
        SELECT true AS found FROM account b
        WHERE NOT t.named AND b.user_id = a.user_id AND b.registered_at IS NOT NULL
          AND (b.created_at, b.id) < (a.created_at, a.id) ORDER BY b.created_at, b.id LIMIT 1) older ON true

-- 2. Decide: a message that is allowed gets an id as long as the outbox has room. Each takes two moments (microseconds) of
-- its account: it is stored at the first, its event is at the second.
), decided AS MATERIALIZED (
    SELECT candidate.*, CASE WHEN allowed AND nth <= room THEN nextval('message_id_seq') END AS id,
           now + (2 * nth - 1) * interval '1 microsecond' AS stored_at,
           now + 2 * nth * interval '1 microsecond' AS event_at
    FROM (
        SELECT m.*, t.account_id, t.chat_id, t.counter_id, t.seq, t.now, t.allowed, t.room,
               row_number() OVER (PARTITION BY t.counter_id, t.allowed ORDER BY m.position) AS nth
        FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[], $10::bytea[], $11::float8[], $12::jsonb[],
                    $13::jsonb[]) WITH ORDINALITY
             AS m (target, network_id, type, text, fingerprint, time_to_live, details, payload, position)
        JOIN target t ON t.target = m.target) candidate

-- 3. Write.
), new_message AS (
    INSERT INTO message (id, account_id, chat_id, network_id, state, type, text, fingerprint, stored_at, details)
    OVERRIDING SYSTEM VALUE
    SELECT id, account_id, chat_id, network_id, 'queued', type, text, fingerprint, stored_at, details
    FROM decided WHERE id IS NOT NULL
), queued AS (
    INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
    SELECT id, account_id, chat_id, clock_timestamp() + make_interval(secs => time_to_live)
    FROM decided WHERE id IS NOT NULL
), updated_chat AS (
    UPDATE chat SET last_message_id = newest.id, last_at = newest.at FROM (
        SELECT chat_id, max(id) AS id, max(stored_at) AS at
        FROM decided WHERE id IS NOT NULL GROUP BY chat_id) newest
    WHERE chat.id = newest.chat_id

-- 4. Journal.
), new_event AS (
    INSERT INTO event (counter_id, seq, at, kind, payload)
    SELECT counter_id, seq + nth, event_at, $14, payload FROM decided WHERE id IS NOT NULL
), updated_counter AS (
    UPDATE account_counter SET seq = newest.seq, stored_at = newest.at FROM (
        SELECT counter_id, max(seq + nth) AS seq, max(event_at) AS at
        FROM decided WHERE id IS NOT NULL GROUP BY counter_id) newest
    WHERE account_counter.id = newest.counter_id)

-- 5. Report: the messages whose locks were free; with an id when it was accepted.
SELECT position AS "position!", allowed AS "allowed!", id FROM decided
