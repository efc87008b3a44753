-- The same rules; their joins go from key to key, and what they ask is looked up, whatever the planner believes of the
-- tables: LIMIT 1 and OFFSET 0 keep it from reading a whole table for a few rows.

CREATE OR REPLACE VIEW account_peer AS
SELECT a.id AS account_id, p.id AS peer_id
FROM account a
CROSS JOIN LATERAL (SELECT id FROM peer WHERE network = a.network AND public_id = a.number LIMIT 1) p;

CREATE OR REPLACE VIEW account_group AS
SELECT own.account_id, h.id AS chat_id, m.group_peer_id, m.admin
FROM account_peer own
JOIN group_member m ON m.member_peer_id = own.peer_id
CROSS JOIN LATERAL (
    SELECT id FROM chat
    WHERE account_id = own.account_id AND peer_id = m.group_peer_id AND group_revision IS NOT NULL LIMIT 1) h;

CREATE OR REPLACE VIEW writable_chat AS
SELECT a.id AS account_id, p.id AS peer_id,
       CASE WHEN p.kind = 'group' THEN
           EXISTS (SELECT 1 FROM account_group g WHERE g.account_id = a.id AND g.group_peer_id = p.id OFFSET 0)
       ELSE
           EXISTS (SELECT 1 FROM contact c WHERE c.account_id = a.id AND c.peer_id = p.id AND c.exists_there OFFSET 0)
           OR EXISTS (SELECT 1 FROM chat h WHERE h.account_id = a.id AND h.peer_id = p.id AND h.peer_wrote OFFSET 0)
       END AS allowed
FROM account a
JOIN peer p ON p.network = a.network;
