-- The writer's two statements as functions: one round trip each, whose steps are plain statements. A program calls the
-- version that it was built with: a changed function gets a new number, and the old one is dropped a release later.
--
-- Each statement of a volatile function sees what was committed before it began (READ COMMITTED). So what is read after the
-- locks were taken stands still until the end of the transaction.
--
-- LIMIT 1 and OFFSET 0 in a LATERAL query: looked up by its key for each row, whatever the planner believes of the table's
-- size. A row that is updated is looked up so, too, and then found by its place (ctid): it is locked, so it stays there.
-- Names of parameters begin with the list that they belong to, so that none is a column's name.

-- A target whose chat and counter are locked.
CREATE TYPE accept_1_lock AS (
    target bigint, account_id bigint, peer_id bigint, named boolean, chat_id bigint, counter_id bigint, seq bigint,
    now timestamptz);

-- A locked target, whether its account may write there, and how many messages its outbox has room for.
CREATE TYPE accept_1_target AS (
    target bigint, account_id bigint, chat_id bigint, counter_id bigint, seq bigint, now timestamptz, allowed boolean,
    room bigint);

-- A message of a locked target; with an id and the number of its event when it is accepted.
CREATE TYPE accept_1_message AS (
    "position" bigint, allowed boolean, id bigint, account_id bigint, chat_id bigint, network_id text, type text, text text,
    fingerprint bytea, stored_at timestamptz, time_to_live float8, details jsonb, counter_id bigint, seq bigint,
    event_at timestamptz, payload jsonb);

-- Accepts messages of the API, of many accounts: checks, messages, outbox, chats, events and counters. Returns the messages
-- whose locks were free; with an id when it was accepted. accept.rs says what the parameters are.
CREATE FUNCTION accept_1(
    outbox_limit bigint,
    target_peers bigint[], target_accounts bigint[], target_counters bigint[], target_named boolean[],
    message_targets bigint[], message_network_ids text[], message_types text[], message_texts text[],
    message_fingerprints bytea[], message_times_to_live float8[], message_details jsonb[], message_payloads jsonb[],
    event_kind text
) RETURNS TABLE ("position" bigint, allowed boolean, id bigint) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    locks accept_1_lock[];
    targets accept_1_target[];
    messages accept_1_message[];
BEGIN
    -- 1. Lock: the chat and then the counter of each target. A target whose locks are not free is skipped.
    locks := ARRAY(
        SELECT ROW(t.position - 1, t.account_id, t.peer_id, t.named, chat.id, counter.id, counter.seq, counter.now
               )::accept_1_lock
        FROM unnest(target_peers, target_accounts, target_counters, target_named)
             WITH ORDINALITY AS t (peer_id, account_id, counter_id, named, position)
        CROSS JOIN LATERAL (
            SELECT id FROM chat WHERE account_id = t.account_id AND peer_id = t.peer_id
            FOR NO KEY UPDATE SKIP LOCKED) chat
        CROSS JOIN LATERAL (
            SELECT id, seq, greatest(statement_timestamp(), stored_at) AS now FROM account_counter
            WHERE id = t.counter_id AND chat.id IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED) counter);

    -- 2. Read. The outbox of an account is counted once, however many chats of it are written to.
    targets := ARRAY(
        WITH outboxes AS MATERIALIZED (
            SELECT account_id, outbox_limit - (SELECT count(*) FROM (
                       SELECT 1 FROM outbox o WHERE o.account_id = sender.account_id LIMIT outbox_limit) AS waiting) AS room
            FROM (SELECT DISTINCT account_id FROM unnest(locks)) AS sender)
        SELECT ROW(t.target, t.account_id, t.chat_id, t.counter_id, t.seq, t.now,
                   a.registered_at IS NOT NULL AND older.found IS NULL AND writable.allowed, outboxes.room
               )::accept_1_target
        FROM unnest(locks) AS t
        JOIN outboxes ON outboxes.account_id = t.account_id
        CROSS JOIN LATERAL (
            SELECT id, user_id, created_at, registered_at FROM account WHERE id = t.account_id LIMIT 1) a
        CROSS JOIN LATERAL (
            SELECT allowed FROM writable_chat WHERE account_id = t.account_id AND peer_id = t.peer_id LIMIT 1) writable
        -- A caller that named no account means the oldest one that is registered.
        LEFT JOIN LATERAL (
            SELECT true AS found FROM account b
            WHERE NOT t.named AND b.user_id = a.user_id AND b.registered_at IS NOT NULL
              AND (b.created_at, b.id) < (a.created_at, a.id) ORDER BY b.created_at, b.id LIMIT 1) older ON true);

    -- 3. Decide: a message that is allowed gets an id as long as the outbox has room. Each takes two moments (microseconds)
    -- of its account: it is stored at the first, its event is at the second.
    messages := ARRAY(
        SELECT ROW(position, allowed, CASE WHEN allowed AND nth <= room THEN nextval('message_id_seq') END, account_id,
                   chat_id, network_id, type, text, fingerprint, now + (2 * nth - 1) * interval '1 microsecond',
                   time_to_live, details, counter_id, seq + nth, now + 2 * nth * interval '1 microsecond', payload
               )::accept_1_message
        FROM (
            SELECT m.*, t.account_id, t.chat_id, t.counter_id, t.seq, t.now, t.allowed, t.room,
                   row_number() OVER (PARTITION BY t.counter_id, t.allowed ORDER BY m.position) AS nth
            FROM unnest(message_targets, message_network_ids, message_types, message_texts, message_fingerprints,
                        message_times_to_live, message_details, message_payloads) WITH ORDINALITY
                 AS m (target, network_id, type, text, fingerprint, time_to_live, details, payload, position)
            JOIN unnest(targets) AS t ON t.target = m.target) candidate);

    -- 4. Write.
    INSERT INTO message (id, account_id, chat_id, network_id, state, type, text, fingerprint, stored_at, details)
    OVERRIDING SYSTEM VALUE
    SELECT id, account_id, chat_id, network_id, 'queued', type, text, fingerprint, stored_at, details
    FROM unnest(messages) WHERE id IS NOT NULL;

    INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
    SELECT id, account_id, chat_id, clock_timestamp() + make_interval(secs => time_to_live)
    FROM unnest(messages) WHERE id IS NOT NULL;

    UPDATE chat SET last_message_id = newest.id, last_at = newest.at FROM (
        SELECT chat_id, max(id) AS id, max(stored_at) AS at
        FROM unnest(messages) WHERE id IS NOT NULL GROUP BY chat_id) newest
    CROSS JOIN LATERAL (SELECT ctid FROM chat WHERE id = newest.chat_id LIMIT 1) locked
    WHERE chat.ctid = locked.ctid;

    -- 5. Journal.
    INSERT INTO event (counter_id, seq, at, kind, payload)
    SELECT counter_id, seq, event_at, event_kind, payload FROM unnest(messages) WHERE id IS NOT NULL;

    UPDATE account_counter SET seq = newest.seq, stored_at = newest.at FROM (
        SELECT counter_id, max(seq) AS seq, max(event_at) AS at
        FROM unnest(messages) WHERE id IS NOT NULL GROUP BY counter_id) newest
    CROSS JOIN LATERAL (SELECT ctid FROM account_counter WHERE id = newest.counter_id LIMIT 1) locked
    WHERE account_counter.ctid = locked.ctid;

    -- 6. Report.
    RETURN QUERY SELECT position, allowed, id FROM unnest(messages);
END $$;

-- A session whose counter is locked, and whether it holds its lease.
CREATE TYPE ingest_1_session AS (
    session bigint, account_id bigint, counter_id bigint, chats bigint, items bigint, seq bigint, now timestamptz,
    leased boolean);

-- A message that came in; with an id when it is stored.
CREATE TYPE ingest_1_message AS (
    "position" bigint, session bigint, item bigint, account_id bigint, chat_id bigint, sender bigint, network_id text,
    type text, text text, fingerprint bytea, stored_at timestamptz, sent_at timestamptz, details jsonb, kind text,
    payload jsonb, introduction jsonb, blocked boolean, id bigint);

-- A message whose state changes: by a receipt, or because the network took or refused it.
CREATE TYPE ingest_1_update AS (
    id bigint, session bigint, item bigint, payload jsonb, read boolean, was_queued boolean, newly_delivered boolean,
    at timestamptz, failure text);

CREATE TYPE ingest_1_event AS (session bigint, moment bigint, kind text, payload jsonb);

-- Stores what sessions write all the time, of many accounts: messages that came in, receipts, and what became of messages
-- that were due, with their chats, events and counters. ingest.rs says what the parameters are.
--
-- Returns each session whose counter was free, with its journal if it was written; and each message that was dropped
-- because its sender is blocked (without an id), or that has details such as a file (with its id).
--
-- Each item (a message, a receipt, a settlement) takes four moments (microseconds) of its account, so that no two things of
-- an account have one time: item n of a session has the moments 4n to 4n + 3, as slots:
--     0  a message is stored; the time of a receipt
--     1  event: contact.updated (its sender is on the network after all); message.sent, message.failed
--     2  event: message.received, message.sent_elsewhere; message.delivered
--     3  event: message.read
CREATE FUNCTION ingest_1(
    session_accounts bigint[], session_counters bigint[], session_owners bigint[], session_fences bigint[],
    session_chats bigint[], session_items bigint[],
    chat_sessions bigint[], chat_peers bigint[],
    message_sessions bigint[], message_chats bigint[], message_items bigint[], message_senders bigint[],
    message_network_ids text[], message_types text[], message_texts text[], message_fingerprints bytea[],
    message_sent_ats timestamptz[], message_details jsonb[], message_kinds text[], message_payloads jsonb[],
    message_introductions jsonb[],
    receipt_sessions bigint[], receipt_items bigint[], receipt_peers bigint[], receipt_network_ids text[],
    receipt_reads boolean[], receipt_payloads jsonb[],
    settlement_sessions bigint[], settlement_items bigint[], settlement_messages bigint[], settlement_failures text[],
    settlement_payloads jsonb[],
    kind_contact_updated text, kind_sent text, kind_failed text, kind_delivered text, kind_read text
) RETURNS TABLE (session bigint, leased boolean, seq bigint, now timestamptz, message bigint, id bigint)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    sessions ingest_1_session[];
    -- Of each chat, in the order of the parameters; null when it is not locked.
    chat_ids bigint[];
    -- The sessions that have all their locks.
    ready ingest_1_session[];
    messages ingest_1_message[] = '{}';
    introductions ingest_1_event[];
    updates ingest_1_update[] = '{}';
    events ingest_1_event[];
BEGIN
    -- 1. Lock: the counter of each session; then the chats that the session needs, if it holds its lease.
    sessions := ARRAY(
        SELECT ROW(s.position - 1, s.account_id, s.counter_id, s.chats, s.items, counter.seq, counter.now,
                   counter.owner IS NOT DISTINCT FROM s.owner AND counter.fence = s.fence)::ingest_1_session
        FROM unnest(session_accounts, session_counters, session_owners, session_fences, session_chats, session_items)
             WITH ORDINALITY AS s (account_id, counter_id, owner, fence, chats, items, position)
        CROSS JOIN LATERAL (
            SELECT seq, owner, fence, greatest(statement_timestamp(), stored_at) AS now
            FROM account_counter WHERE id = s.counter_id FOR NO KEY UPDATE SKIP LOCKED) counter);

    chat_ids := ARRAY(
        SELECT found.id
        FROM unnest(chat_sessions, chat_peers) WITH ORDINALITY AS c (session, peer_id, position)
        LEFT JOIN unnest(sessions) AS s ON s.session = c.session AND s.leased
        LEFT JOIN LATERAL (
            SELECT id FROM chat WHERE account_id = s.account_id AND peer_id = c.peer_id
            FOR NO KEY UPDATE SKIP LOCKED) found ON true
        ORDER BY c.position);

    ready := ARRAY(
        SELECT s FROM unnest(sessions) AS s
        LEFT JOIN (
            SELECT session, count(id) AS chats
            FROM unnest(chat_sessions, chat_ids) AS c (session, id) GROUP BY session) locked ON locked.session = s.session
        WHERE s.leased AND s.chats = coalesce(locked.chats, 0));

    -- 2. Messages. One gets an id unless it is there already, or is one to the account alone of a person whom the account
    -- has blocked. Ids are given out in the order of a session's items.
    IF cardinality(message_sessions) > 0 THEN
        messages := ARRAY(
            SELECT ROW(m.position, m.session, m.item, r.account_id, c.id, m.sender, m.network_id, m.type, m.text,
                       m.fingerprint, r.now + 4 * m.item * interval '1 microsecond', m.sent_at, m.details, m.kind,
                       m.payload, m.introduction, block.found,
                       CASE WHEN block.found IS NULL AND known.found IS NULL THEN nextval('message_id_seq') END
                   )::ingest_1_message
            FROM unnest(message_sessions, message_chats, message_items, message_senders, message_network_ids,
                        message_types, message_texts, message_fingerprints, message_sent_ats, message_details,
                        message_kinds, message_payloads, message_introductions)
                 WITH ORDINALITY AS m (session, chat, item, sender, network_id, type, text, fingerprint, sent_at, details,
                                       kind, payload, introduction, position)
            JOIN unnest(ready) AS r ON r.session = m.session
            CROSS JOIN LATERAL (SELECT chat_ids[m.chat + 1] AS id, chat_peers[m.chat + 1] AS peer_id) c
            LEFT JOIN LATERAL (
                SELECT true AS found FROM block
                WHERE account_id = r.account_id AND peer_id = m.sender AND m.sender = c.peer_id LIMIT 1) block ON true
            LEFT JOIN LATERAL (
                SELECT true AS found FROM (
                    SELECT chat_id, sender_peer_id, fingerprint FROM message
                    WHERE account_id = r.account_id AND network_id = m.network_id OFFSET 0) same
                WHERE chat_id = c.id AND sender_peer_id IS NOT DISTINCT FROM m.sender AND fingerprint = m.fingerprint
                LIMIT 1) known ON true
            ORDER BY m.session, m.item);

        INSERT INTO message (id, account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint,
                             stored_at, sent_at, details)
        OVERRIDING SYSTEM VALUE
        SELECT id, account_id, chat_id, network_id, sender, CASE WHEN sender IS NULL THEN 'sent' ELSE 'received' END, type,
               text, fingerprint, stored_at, sent_at, details
        FROM unnest(messages) WHERE id IS NOT NULL;

        UPDATE chat SET last_message_id = newest.id, last_at = newest.at, unread = unread + newest.received,
               peer_wrote = peer_wrote OR newest.received > 0
        FROM (SELECT chat_id, max(id) AS id, max(stored_at) AS at, count(sender)::integer AS received
              FROM unnest(messages) WHERE id IS NOT NULL GROUP BY chat_id) newest
        CROSS JOIN LATERAL (SELECT ctid FROM chat WHERE id = newest.chat_id LIMIT 1) locked
        WHERE chat.ctid = locked.ctid;

        -- Who wrote is on the network, whatever the last sync found.
        WITH updated AS (
            UPDATE contact c SET exists_there = true FROM unnest(messages) AS m
            CROSS JOIN LATERAL (
                SELECT ctid, exists_there FROM contact
                WHERE account_id = m.account_id AND peer_id = m.sender LIMIT 1) known
            WHERE m.introduction IS NOT NULL AND m.blocked IS NULL AND NOT known.exists_there AND c.ctid = known.ctid
            RETURNING m.session, m.item, m.introduction)
        SELECT array_agg(ROW(session, 4 * item + 1, kind_contact_updated, introduction)::ingest_1_event)
        INTO introductions FROM updated;
    END IF;

    -- 3. Updates of messages.
    IF cardinality(receipt_sessions) > 0 OR cardinality(settlement_sessions) > 0 THEN
        -- A receipt counts from the other side of the chat only. A message that has a receipt was taken by the network, even
        -- if its session has not stored that yet; a read one is a delivered one, too.
        updates := ARRAY(
            SELECT ROW(m.id, r.session, r.item, r.payload, r.read, m.state = 'queued', m.delivered_at IS NULL,
                       s.now + 4 * r.item * interval '1 microsecond', NULL)::ingest_1_update
            FROM unnest(receipt_sessions, receipt_items, receipt_peers, receipt_network_ids, receipt_reads,
                        receipt_payloads) AS r (session, item, peer_id, network_id, read, payload)
            JOIN unnest(ready) AS s ON s.session = r.session
            CROSS JOIN LATERAL (
                SELECT id FROM chat WHERE account_id = s.account_id AND peer_id = r.peer_id LIMIT 1) chat
            CROSS JOIN LATERAL (
                SELECT id, chat_id, sender_peer_id, state, delivered_at, read_at FROM message
                WHERE account_id = s.account_id AND network_id = r.network_id OFFSET 0) m
            WHERE m.chat_id = chat.id AND m.sender_peer_id IS NULL AND m.state <> 'failed'
              AND (m.delivered_at IS NULL OR (r.read AND m.read_at IS NULL)));

        updates := updates || ARRAY(
            SELECT ROW(due.message_id, s.session, s.item, s.payload, false, true, false, NULL, s.failure)::ingest_1_update
            FROM unnest(settlement_sessions, settlement_items, settlement_messages, settlement_failures,
                        settlement_payloads) AS s (session, item, message_id, failure, payload)
            JOIN unnest(ready) AS r ON r.session = s.session
            CROSS JOIN LATERAL (
                SELECT message_id FROM outbox
                WHERE message_id = s.message_id AND account_id = r.account_id LIMIT 1) due
            WHERE NOT EXISTS (SELECT FROM unnest(updates) AS receipted WHERE receipted.id = s.message_id));

        DELETE FROM outbox WHERE message_id = ANY(ARRAY(SELECT id FROM unnest(updates) WHERE was_queued));

        UPDATE message m SET state = CASE WHEN u.failure IS NULL THEN 'sent' ELSE 'failed' END,
               failure = u.failure,
               sent_at = CASE WHEN u.failure IS NULL THEN coalesce(m.sent_at, clock_timestamp()) END,
               delivered_at = coalesce(m.delivered_at, u.at),
               read_at = CASE WHEN u.read THEN coalesce(m.read_at, u.at) ELSE m.read_at END
        FROM unnest(updates) AS u CROSS JOIN LATERAL (SELECT ctid FROM message WHERE id = u.id LIMIT 1) locked
        WHERE m.ctid = locked.ctid;
    END IF;

    -- 4. Journal.
    events := introductions || ARRAY(
        SELECT ROW(session, 4 * item + 2, kind, payload)::ingest_1_event
        FROM unnest(messages) WHERE id IS NOT NULL AND kind IS NOT NULL
        UNION ALL
        SELECT ROW(session, 4 * item + 1, CASE WHEN failure IS NULL THEN kind_sent ELSE kind_failed END, payload
               )::ingest_1_event
        FROM unnest(updates) WHERE was_queued
        UNION ALL
        SELECT ROW(session, 4 * item + 2, kind_delivered, payload)::ingest_1_event
        FROM unnest(updates) WHERE newly_delivered
        UNION ALL
        SELECT ROW(session, 4 * item + 3, kind_read, payload)::ingest_1_event FROM unnest(updates) WHERE read);

    INSERT INTO event (counter_id, seq, at, kind, payload)
    SELECT r.counter_id, r.seq + row_number() OVER (PARTITION BY e.session ORDER BY e.moment),
           r.now + e.moment * interval '1 microsecond', e.kind, e.payload
    FROM unnest(events) AS e JOIN unnest(ready) AS r ON r.session = e.session;

    -- 5. Report: the sessions that were written, with their new counters; the others; the messages.
    RETURN QUERY
    UPDATE account_counter c
    SET seq = r.seq + coalesce(e.count, 0), stored_at = r.now + (4 * r.items + 3) * interval '1 microsecond'
    FROM unnest(ready) AS r
    CROSS JOIN LATERAL (SELECT ctid FROM account_counter WHERE id = r.counter_id LIMIT 1) locked
    LEFT JOIN (SELECT session, count(*) FROM unnest(events) GROUP BY session) e ON e.session = r.session
    WHERE c.ctid = locked.ctid
    RETURNING r.session, true, c.seq, c.stored_at, NULL::bigint, NULL::bigint;

    RETURN QUERY
    SELECT s.session, s.leased, NULL::bigint, NULL::timestamptz, NULL::bigint, NULL::bigint FROM unnest(sessions) AS s
    WHERE NOT EXISTS (SELECT FROM unnest(ready) AS r WHERE r.session = s.session);

    RETURN QUERY
    SELECT m.session, true, NULL::bigint, NULL::timestamptz, m.position, m.id FROM unnest(messages) AS m
    WHERE m.blocked OR (m.details IS NOT NULL AND m.id IS NOT NULL);
END $$;
