-- As with messages: whoever writes an event holds the lock on the counter that numbers it.

CREATE FUNCTION delete_events_of_counters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM event WHERE counter_id IN (SELECT id FROM gone);
    RETURN NULL;
END $$;

CREATE TRIGGER account_counter_events AFTER DELETE ON account_counter REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION delete_events_of_counters();

ALTER TABLE event DROP CONSTRAINT event_counter_id_fkey;
