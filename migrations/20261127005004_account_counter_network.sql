-- Which numbers need a session, where the leases are: those that nobody holds are found without a look at all others.

ALTER TABLE account_counter
    -- The network of the registered account of this number; null: there is none.
    ADD COLUMN network text;

-- Who registers, moves or removes an account has locked the counter.
CREATE FUNCTION note_network_of_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE account_counter SET network = NULL
        WHERE id = OLD.counter_id AND network IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM account a WHERE a.counter_id = OLD.counter_id AND a.registered_at IS NOT NULL OFFSET 0);
    ELSIF NEW.registered_at IS NOT NULL THEN
        UPDATE account_counter SET network = NEW.network
        WHERE id = NEW.counter_id AND network IS DISTINCT FROM NEW.network;
    ELSIF TG_OP = 'UPDATE' AND OLD.registered_at IS NOT NULL THEN
        UPDATE account_counter SET network = NULL WHERE id = NEW.counter_id AND network IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER account_network AFTER INSERT OR DELETE OR UPDATE OF registered_at, network ON account
    FOR EACH ROW EXECUTE FUNCTION note_network_of_number();

UPDATE account_counter c SET network = a.network
FROM account a WHERE a.counter_id = c.id AND a.registered_at IS NOT NULL;
