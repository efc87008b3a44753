-- The same rules, over the peers of an account's directory.

CREATE OR REPLACE VIEW account_peer AS
SELECT a.id AS account_id, p.id AS peer_id
FROM account a
CROSS JOIN LATERAL (
    SELECT id FROM peer WHERE network = coalesce(a.directory, a.network) AND public_id = a.number LIMIT 1) p;

CREATE OR REPLACE VIEW writable_chat AS
SELECT a.id AS account_id, p.id AS peer_id,
       CASE WHEN p.kind = 'group' THEN
           EXISTS (SELECT 1 FROM account_group g WHERE g.account_id = a.id AND g.group_peer_id = p.id OFFSET 0)
       ELSE
           EXISTS (SELECT 1 FROM contact c WHERE c.account_id = a.id AND c.peer_id = p.id AND c.exists_there OFFSET 0)
           OR EXISTS (SELECT 1 FROM chat h WHERE h.account_id = a.id AND h.peer_id = p.id AND h.peer_wrote OFFSET 0)
       END AS allowed
FROM account a
JOIN peer p ON p.network = coalesce(a.directory, a.network);
