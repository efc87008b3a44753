-- What the watcher was last told: only what differs from it is told. Who no longer watches keeps it, for when they watch
-- again.
ALTER TABLE localnet_watch
    ADD COLUMN told jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN active boolean NOT NULL DEFAULT true;
CREATE INDEX localnet_watch_watcher ON localnet_watch (watcher);
UPDATE localnet_watch w SET told = jsonb_build_object('nickname', s.nickname)
FROM localnet_subscriber s WHERE s.number = w.watched AND s.nickname <> '';
