-- Whoever puts something into a mailbox holds a lock on the subscriber, as a check of the key would take it, but once for a
-- mailbox and not for each stanza; a mailbox still goes with its subscriber. What is in a mailbox is found by the mailbox
-- and its place there, so that one index will do.

CREATE FUNCTION delete_stanzas_of_subscribers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM localnet_stanza WHERE recipient IN (SELECT number FROM gone);
    RETURN NULL;
END $$;

CREATE TRIGGER localnet_subscriber_stanzas AFTER DELETE ON localnet_subscriber REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION delete_stanzas_of_subscribers();

ALTER TABLE localnet_stanza
    DROP CONSTRAINT localnet_stanza_recipient_fkey,
    DROP CONSTRAINT localnet_stanza_pkey,
    ADD PRIMARY KEY (recipient, id);
DROP INDEX localnet_stanza_recipient;
