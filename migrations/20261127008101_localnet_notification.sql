-- Changes of a subscriber that not all watches have seen yet: they see it in slices, and whoever is interrupted is continued
-- by the subscriber's next change.
CREATE TABLE localnet_notification (
    number text NOT NULL REFERENCES localnet_subscriber (number) ON DELETE CASCADE,
    -- Whether the subscriber's watches on others are meant, or those of others on it.
    own boolean NOT NULL,
    -- Grows with each change.
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (number, own)
);

-- The watches of a watcher, in the order in which they are locked.
CREATE INDEX localnet_watch_of_watcher ON localnet_watch (watcher, watched);
DROP INDEX localnet_watch_watcher;
