-- Stores what sessions write all the time, of many accounts: messages that came in, receipts, and what became of messages
-- that were due, with their chats, events and counters, in one statement. ingest.rs says what the parameters are.
--
-- The statement sees the database as of its begin, and locks rows after that. An account whose counter row has another
-- version (ctid) by then has changed in between: it is left out, as an account whose rows are locked is. All else that the
-- statement reads of an account stands still as long as that row does.
--
-- Each item (a message, a receipt, a settlement) takes four moments (microseconds) of its account, so that no two things of
-- an account have one time: item n of a session has the moments 4n to 4n + 3, as slots:
--     0  a message is stored; the time of a receipt
--     1  event: contact.updated (its sender is on the network after all); message.sent, message.failed
--     2  event: message.received, message.sent_elsewhere; message.delivered
--     3  event: message.read
--
-- MATERIALIZED: evaluated once, in this order. LIMIT 1 and OFFSET 0 in a LATERAL query: looked up by its key for each row,
-- whatever the planner believes of the table's size.

-- 1. Lock: the counter of each session, and whether it holds its lease; then the chats that the session needs.
WITH session AS MATERIALIZED (
    SELECT s.position - 1 AS session, s.account_id, s.counter_id, s.chats, s.items, counter.seq, counter.now,
           counter.owner IS NOT DISTINCT FROM s.owner AND counter.fence = s.fence AS leased
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
         WITH ORDINALITY AS s (account_id, counter_id, owner, fence, chats, items, position)
    CROSS JOIN LATERAL (
        SELECT id, ctid AS version, seq, owner, fence, greatest(statement_timestamp(), stored_at) AS now
        FROM account_counter WHERE id = s.counter_id FOR NO KEY UPDATE SKIP LOCKED) counter
    CROSS JOIN LATERAL (
        SELECT 1 FROM account_counter before
        WHERE before.id = counter.id AND before.ctid = counter.version LIMIT 1) unchanged
), locked_chat AS MATERIALIZED (
    SELECT c.position - 1 AS chat, c.session, c.peer_id, found.id
    FROM unnest($7::bigint[], $8::bigint[]) WITH ORDINALITY AS c (session, peer_id, position)
    JOIN session s ON s.session = c.session AND s.leased
    CROSS JOIN LATERAL (
        SELECT id FROM chat WHERE account_id = s.account_id AND peer_id = c.peer_id
        FOR NO KEY UPDATE SKIP LOCKED) found
), ready AS MATERIALIZED (
    SELECT s.* FROM session s
    LEFT JOIN (SELECT session, count(*) AS chats FROM locked_chat GROUP BY session) l ON l.session = s.session
    WHERE CASE WHEN s.leased THEN s.chats = coalesce(l.chats, 0) END

-- 2. Decide: a message gets an id unless it is there already, or is one to the account alone of a person whom the account
-- has blocked.
), inbound AS MATERIALIZED (
    SELECT candidate.*, CASE WHEN blocked IS NULL AND duplicate IS NULL THEN nextval('message_id_seq') END AS id
    FROM (
        SELECT m.*, r.account_id, c.id AS chat_id, block.found AS blocked, known.found AS duplicate,
               r.now + 4 * m.item * interval '1 microsecond' AS stored_at
        FROM unnest($9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[],
                    $16::bytea[], $17::timestamptz[], $18::jsonb[], $19::text[], $20::jsonb[], $21::jsonb[])
             WITH ORDINALITY AS m (session, chat, item, sender, network_id, type, text, fingerprint, sent_at, details,
                                   kind, payload, introduction, position)
        JOIN ready r ON r.session = m.session
        JOIN locked_chat c ON c.chat = m.chat
        LEFT JOIN LATERAL (
            SELECT true AS found FROM block
            WHERE account_id = r.account_id AND peer_id = m.sender AND m.sender = c.peer_id LIMIT 1) block ON true
        -- By account and id alone, behind OFFSET 0: without statistics the planner would else read the whole chat.
        LEFT JOIN LATERAL (
            SELECT true AS found FROM (
                SELECT chat_id, sender_peer_id, fingerprint FROM message
                WHERE account_id = r.account_id AND network_id = m.network_id OFFSET 0) same_id
            WHERE same_id.chat_id = c.id AND same_id.sender_peer_id IS NOT DISTINCT FROM m.sender
              AND same_id.fingerprint = m.fingerprint LIMIT 1) known ON true
        ORDER BY m.position OFFSET 0) candidate

-- A receipt counts from the other side of the chat only. A message that has a receipt was taken by the network, even if its
-- session has not stored that yet; a read one is a delivered one, too.
), receipted AS MATERIALIZED (
    SELECT m.id, r.session, r.item, r.payload, r.read, m.state = 'queued' AS was_queued,
           m.delivered_at IS NULL AS newly_delivered, s.now + 4 * r.item * interval '1 microsecond' AS at
    FROM unnest($22::bigint[], $23::bigint[], $24::bigint[], $25::text[], $26::boolean[], $27::jsonb[])
         AS r (session, item, peer_id, network_id, read, payload)
    JOIN ready s ON s.session = r.session
    CROSS JOIN LATERAL (
        SELECT id FROM chat WHERE account_id = s.account_id AND peer_id = r.peer_id LIMIT 1) chat
    CROSS JOIN LATERAL (
        SELECT * FROM message WHERE account_id = s.account_id AND network_id = r.network_id OFFSET 0) m
    WHERE m.chat_id = chat.id AND m.sender_peer_id IS NULL AND m.state <> 'failed'
      AND (m.delivered_at IS NULL OR (r.read AND m.read_at IS NULL))

-- Messages whose state changes: by a receipt, or because the network took or refused them.
), updated AS MATERIALIZED (
    SELECT id, session, item, payload, read, was_queued, newly_delivered, at, NULL AS failure FROM receipted
    UNION ALL
    SELECT due.message_id, s.session, s.item, s.payload, false, true, false, NULL, s.failure
    FROM unnest($28::bigint[], $29::bigint[], $30::bigint[], $31::text[], $32::jsonb[])
         AS s (session, item, message_id, failure, payload)
    JOIN ready r ON r.session = s.session
    CROSS JOIN LATERAL (
        SELECT message_id FROM outbox
        WHERE message_id = s.message_id AND account_id = r.account_id LIMIT 1) due
    WHERE NOT EXISTS (SELECT 1 FROM receipted WHERE receipted.id = s.message_id)

-- 3. Write.
), new_message AS (
    INSERT INTO message (id, account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at,
                         sent_at, details)
    OVERRIDING SYSTEM VALUE
    SELECT id, account_id, chat_id, network_id, sender, CASE WHEN sender IS NULL THEN 'sent' ELSE 'received' END, type,
           text, fingerprint, stored_at, sent_at, details
    FROM inbound WHERE id IS NOT NULL
), updated_chat AS (
    UPDATE chat SET last_message_id = newest.id, last_at = newest.at, unread = unread + newest.received,
           peer_wrote = peer_wrote OR newest.received > 0
    FROM (SELECT chat_id, max(id) AS id, max(stored_at) AS at, count(sender)::integer AS received
          FROM inbound WHERE id IS NOT NULL GROUP BY chat_id) newest
    WHERE chat.id = newest.chat_id
), updated_contact AS (
    -- Who wrote is on the network, whatever the last sync found.
    UPDATE contact c SET exists_there = true FROM inbound i
    WHERE i.introduction IS NOT NULL AND i.blocked IS NULL
      AND c.account_id = i.account_id AND c.peer_id = i.sender AND NOT c.exists_there
    RETURNING i.session, i.item, i.introduction
), dequeued AS (
    DELETE FROM outbox WHERE message_id = ANY(ARRAY(SELECT id FROM updated WHERE was_queued))
), updated_message AS (
    UPDATE message m SET state = CASE WHEN u.failure IS NULL THEN 'sent' ELSE 'failed' END,
           failure = u.failure,
           sent_at = CASE WHEN u.failure IS NULL THEN coalesce(m.sent_at, clock_timestamp()) END,
           delivered_at = coalesce(m.delivered_at, u.at),
           read_at = CASE WHEN u.read THEN coalesce(m.read_at, u.at) ELSE m.read_at END
    FROM updated u WHERE m.id = u.id

-- 4. Journal. The kinds of events: $33 contact.updated, $34 message.sent, $35 message.failed, $36 message.delivered,
-- $37 message.read.
), news AS MATERIALIZED (
    SELECT n.*, row_number() OVER (PARTITION BY session ORDER BY moment) AS nth FROM (
        SELECT session, 4 * item + 2 AS moment, kind, payload FROM inbound WHERE id IS NOT NULL AND kind IS NOT NULL
        UNION ALL
        SELECT session, 4 * item + 1, $33, introduction FROM updated_contact
        UNION ALL
        SELECT session, 4 * item + 1, CASE WHEN failure IS NULL THEN $34 ELSE $35 END, payload
        FROM updated WHERE was_queued
        UNION ALL
        SELECT session, 4 * item + 2, $36, payload FROM updated WHERE newly_delivered
        UNION ALL
        SELECT session, 4 * item + 3, $37, payload FROM updated WHERE read) n
), new_event AS (
    INSERT INTO event (counter_id, seq, at, kind, payload)
    SELECT r.counter_id, r.seq + n.nth, r.now + n.moment * interval '1 microsecond', n.kind, n.payload
    FROM news n JOIN ready r ON r.session = n.session
), updated_counter AS (
    UPDATE account_counter c
    SET seq = r.seq + coalesce(n.count, 0), stored_at = r.now + (4 * r.items + 3) * interval '1 microsecond'
    FROM ready r LEFT JOIN (SELECT session, count(*) FROM news GROUP BY session) n ON n.session = r.session
    WHERE c.id = r.counter_id RETURNING r.session, c.seq, c.stored_at)

-- 5. Report: each session whose counter was free, with its journal if it was written; then each message that was dropped
-- because its sender is blocked (without an id), or that has details such as a file (with its id).
SELECT s.session AS "session!", s.leased AS "leased!", c.seq, c.stored_at AS now, NULL::bigint AS message,
       NULL::bigint AS id
FROM session s LEFT JOIN updated_counter c ON c.session = s.session
UNION ALL
SELECT session, true, NULL, NULL, position, id FROM inbound WHERE blocked OR (details IS NOT NULL AND id IS NOT NULL)
