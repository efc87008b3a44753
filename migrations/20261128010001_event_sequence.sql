-- The events of all accounts of a user as one sequence, which a client follows with one cursor; and one epoch for the
-- server, since a client can compare one word only.
--
-- The sequence is numbered after the commit, under a lock that no send takes. It is stored as spans of journals: most
-- events need no row of their own there.

-- The words of the epochs. A restoration begins another one, because numbers that were given since the backup are given
-- again. The id of an event has the word of the epoch in which it was written.
CREATE TABLE event_epoch (
    id smallint PRIMARY KEY,
    word text NOT NULL
);
INSERT INTO event_epoch (id, word) VALUES (1, left(replace(gen_random_uuid()::text, '-', ''), 12));

-- The default is the present epoch, so that the statements which write events need not know it.
ALTER TABLE event ADD COLUMN epoch smallint NOT NULL DEFAULT 1;

-- Begins an epoch, in the transaction of a restoration.
CREATE FUNCTION begin_epoch_1(new_word text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    new_id smallint;
BEGIN
    INSERT INTO event_epoch (id, word) SELECT coalesce(max(id), 0) + 1, new_word FROM event_epoch RETURNING id INTO new_id;
    EXECUTE format('ALTER TABLE event ALTER COLUMN epoch SET DEFAULT %s', new_id);
END $$;

ALTER TABLE account_counter
    -- Programs of earlier versions still write it.
    ALTER COLUMN epoch SET DEFAULT '',
    -- The time of an event that is half a minute older than the last one at most: what an index may learn of.
    ADD COLUMN recent_at timestamptz NOT NULL DEFAULT 'epoch',
    -- The events up to this number were deleted because of their age.
    ADD COLUMN pruned_seq bigint NOT NULL DEFAULT 0,
    -- The events up to this number are about an account that was removed; a later one of the same number is another one.
    ADD COLUMN former_seq bigint NOT NULL DEFAULT 0;
UPDATE account_counter SET recent_at = stored_at WHERE seq > 0;

-- A trigger, so that programs of earlier versions keep it up, too. It runs twice a minute at most for a journal.
CREATE FUNCTION note_recent_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.recent_at := NEW.stored_at;
    RETURN NEW;
END $$;
CREATE TRIGGER account_counter_recent BEFORE UPDATE OF seq ON account_counter FOR EACH ROW
    WHEN (NEW.seq > OLD.seq AND NEW.stored_at >= OLD.recent_at + interval '30 seconds')
    EXECUTE FUNCTION note_recent_event();

-- The journals of a user that have grown lately, and those of all users: by expressions, so that the statement for one cannot
-- take the other.
CREATE INDEX account_counter_recent_of_user ON account_counter ((-user_id), recent_at);
CREATE INDEX account_counter_recent ON account_counter ((recent_at AT TIME ZONE 'UTC'), id);

-- Who locks the row numbers the user's events.
CREATE TABLE event_sequence (
    user_id bigint PRIMARY KEY REFERENCES windu_user (id) ON DELETE CASCADE,
    -- The place of the last event.
    place bigint NOT NULL DEFAULT 0,
    -- The events up to this place were deleted because of their age.
    pruned bigint NOT NULL DEFAULT 0,
    -- What was committed before this time has its place.
    checked_at timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 50);

-- Consecutive events of one journal that stand together in the sequence of their user. The spans of a user follow each other
-- without gaps. No foreign keys: they are deleted with the journal, in slices.
CREATE TABLE event_span (
    user_id bigint NOT NULL,
    -- The place of the last one.
    place bigint NOT NULL,
    counter_id bigint NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    numbered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, place)
);
CREATE UNIQUE INDEX event_span_of_counter ON event_span (counter_id, last_seq);

-- Gives the events of a user that have none yet their places: those in the journals that are named, or (null) in all of them.
-- Returns the last place, and whether there is more, because this stopped at 1,000 spans. No row: there is no such user.
--
-- The row of the sequence is locked first: what the statements after it read was committed before, or has a later turn.
CREATE FUNCTION number_events_1(of_user bigint, of_counters bigint[]) RETURNS TABLE (place bigint, more boolean)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    -- The events of a span, and the spans of a turn.
    longest CONSTANT bigint := 1000;
    most CONSTANT bigint := 1000;
    -- Longer than a transaction takes that writes events, and the half minute by which recent_at lags.
    overlap CONSTANT interval := interval '5 minutes';
    sequence event_sequence;
    began timestamptz;
    spans bigint;
    last_place bigint;
BEGIN
    SELECT * INTO sequence FROM event_sequence WHERE user_id = of_user FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO event_sequence (user_id) SELECT id FROM windu_user WHERE id = of_user ON CONFLICT DO NOTHING;
        SELECT * INTO sequence FROM event_sequence WHERE user_id = of_user FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    began := clock_timestamp();

    WITH grown AS (
        SELECT c.* FROM unnest(of_counters) AS named (id) CROSS JOIN LATERAL (
            SELECT * FROM account_counter WHERE id = named.id LIMIT 1) c
        WHERE c.user_id = of_user
        UNION ALL
        SELECT * FROM account_counter
        WHERE of_counters IS NULL AND -user_id = -of_user
          -- One without events has the epoch.
          AND recent_at > greatest(sequence.checked_at - overlap, 'epoch')
    ), unnumbered AS (
        SELECT c.id, c.stored_at, c.seq AS last_seq, numbered.seq + 1 AS first_seq
        FROM grown c
        LEFT JOIN LATERAL (
            SELECT last_seq FROM event_span WHERE counter_id = c.id ORDER BY last_seq DESC LIMIT 1) span ON true
        CROSS JOIN LATERAL (SELECT greatest(span.last_seq, c.pruned_seq, c.removed_seq) AS seq) numbered
        WHERE c.seq > numbered.seq
    ), piece AS (
        SELECT u.id, u.stored_at, p.first_seq, least(p.first_seq + longest - 1, u.last_seq) AS last_seq
        FROM unnumbered u CROSS JOIN LATERAL generate_series(u.first_seq, u.last_seq, longest) AS p (first_seq)
        ORDER BY u.stored_at, u.id, p.first_seq LIMIT most
    ), span AS (
        INSERT INTO event_span (user_id, place, counter_id, first_seq, last_seq)
        SELECT of_user, sequence.place + sum(last_seq - first_seq + 1) OVER (ORDER BY stored_at, id, first_seq), id,
               first_seq, last_seq
        FROM piece
        RETURNING place
    )
    SELECT count(*), coalesce(max(place), sequence.place) INTO spans, last_place FROM span;

    IF spans > 0 OR (of_counters IS NULL AND sequence.checked_at < began - interval '1 minute') THEN
        UPDATE event_sequence SET place = last_place,
               checked_at = CASE WHEN of_counters IS NULL AND spans < most THEN began ELSE checked_at END
        WHERE user_id = of_user;
    END IF;
    RETURN QUERY SELECT last_place, spans >= most;
END $$;

-- Deletes the oldest spans of a user's sequence, with their events, up to a thousand events or one span: those that have
-- their places since before a time, and whose journals say that they are pruned. Returns whether there was one.
CREATE FUNCTION prune_events_1(of_user bigint, older_than timestamptz) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    sequence event_sequence;
    last_place bigint;
BEGIN
    SELECT * INTO sequence FROM event_sequence WHERE user_id = of_user FOR NO KEY UPDATE;
    WITH oldest AS (
        SELECT s.place, bool_and(s.numbered_at < older_than AND s.last_seq <= c.pruned_seq) OVER (ORDER BY s.place) AS is_old,
               sum(s.last_seq - s.first_seq + 1) OVER (ORDER BY s.place) AS events
        FROM (SELECT * FROM event_span WHERE user_id = of_user ORDER BY place LIMIT 1000) s
        CROSS JOIN LATERAL (SELECT pruned_seq FROM account_counter WHERE id = s.counter_id LIMIT 1) c)
    SELECT max(place) INTO last_place FROM oldest
    WHERE is_old AND (events <= 1000 OR place = (SELECT min(place) FROM oldest));
    IF last_place IS NULL THEN
        RETURN false;
    END IF;
    -- Readers see both or none.
    UPDATE event_sequence SET pruned = last_place WHERE user_id = of_user;
    WITH span AS (
        DELETE FROM event_span WHERE user_id = of_user AND place <= last_place RETURNING counter_id, first_seq, last_seq)
    DELETE FROM event WHERE ctid = ANY(ARRAY(
        SELECT e.ctid FROM span CROSS JOIN LATERAL (
            SELECT ctid FROM event WHERE counter_id = span.counter_id AND seq BETWEEN span.first_seq AND span.last_seq
            ORDER BY seq LIMIT 1000) e));
    RETURN true;
END $$;
