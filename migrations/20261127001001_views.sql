-- Rules that several queries need, said once.

-- The peer that an account is to others on its network.
CREATE VIEW account_peer AS
SELECT a.id AS account_id, p.id AS peer_id
FROM account a
JOIN peer p ON p.network = a.network AND p.public_id = a.number;

-- The groups that an account is in: it is a member, and was told so by its network.
CREATE VIEW account_group AS
SELECT own.account_id, h.id AS chat_id, m.group_peer_id, m.admin
FROM account_peer own
JOIN group_member m ON m.member_peer_id = own.peer_id
JOIN chat h ON h.account_id = own.account_id AND h.peer_id = m.group_peer_id AND h.group_revision IS NOT NULL;

-- Whether an account may write to a peer of its network: a group that it is in, a contact that the network knows, or a
-- person who wrote first. Always asked with both keys.
CREATE VIEW writable_chat AS
SELECT a.id AS account_id, p.id AS peer_id,
       CASE WHEN p.kind = 'group' THEN
           EXISTS (SELECT 1 FROM account_group g WHERE g.account_id = a.id AND g.group_peer_id = p.id)
       ELSE
           EXISTS (SELECT 1 FROM contact c WHERE c.account_id = a.id AND c.peer_id = p.id AND c.exists_there)
           OR EXISTS (SELECT 1 FROM chat h WHERE h.account_id = a.id AND h.peer_id = p.id AND h.peer_wrote)
       END AS allowed
FROM account a
JOIN peer p ON p.network = a.network;
