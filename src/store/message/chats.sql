-- A page of the list of chats, newest first, see chats.rs.
--
-- The chats that are newest by recent_at are as many as the page needs. A chat that is not among them can only belong before
-- one of them when it lags: then its last message came less than a minute after its recent_at.
--
-- A negated id: looked up by an index of that alone. LIMIT 1 and OFFSET 0: looked up by its key for each row, whatever the
-- planner believes of the table's size.
WITH newest AS MATERIALIZED (
   SELECT id, recent_at, coalesce(last_at, recent_at) AS place FROM chat h
   WHERE -account_id = -$1::bigint AND recent_at > $2::timestamptz - interval '1 minute'
     AND (last_message_id IS NOT NULL OR EXISTS (
         SELECT 1 FROM account_group g WHERE g.account_id = $1 AND g.group_peer_id = h.peer_id
         OFFSET 0))
   ORDER BY recent_at DESC, id DESC LIMIT $3::bigint + $4::bigint
), lagging AS MATERIALIZED (
   SELECT id, recent_at, last_at AS place FROM chat
   WHERE ~account_id = ~$1::bigint AND lags AND last_message_id IS NOT NULL
     AND recent_at > (SELECT min(recent_at) FROM newest) - interval '1 minute'
), page AS MATERIALIZED (
   SELECT id, place FROM (SELECT * FROM newest UNION SELECT * FROM lagging) candidate
   WHERE place > $2 ORDER BY place DESC, id DESC LIMIT $3 OFFSET $4)
SELECT h.id AS "chat!", p.public_id AS "id!", p.kind = 'group' AS "is_group!", page.place AS "time!",
       h.unread AS "unread!",
       coalesce(h.group_subject, nullif(trim(c.first_name || ' ' || c.last_name), ''),
                nullif(f.nickname, ''), p.public_id) AS "title!",
       left(m.text, 100) AS snippet, m.type AS "kind?", m.state AS "state?",
       m.sender_peer_id IS NOT NULL AS "received!", m.delivered_at IS NOT NULL AS "is_delivered!",
       m.read_at IS NOT NULL AS "is_read!",
       CASE WHEN p.kind = 'group' THEN (SELECT public_id FROM peer WHERE id = m.sender_peer_id)
       END AS participant,
       coalesce(f.photo_hidden, false) AS "photo_hidden!", s.id AS "photo_change?",
       coalesce(s.photo, g.photo) AS photo, coalesce(s.preview, g.photo_preview) AS preview
FROM page
CROSS JOIN LATERAL (SELECT * FROM chat WHERE id = page.id LIMIT 1) h
CROSS JOIN LATERAL (SELECT public_id, kind FROM peer WHERE id = h.peer_id LIMIT 1) p
LEFT JOIN LATERAL (SELECT * FROM message WHERE id = h.last_message_id LIMIT 1) m ON true
LEFT JOIN LATERAL (SELECT first_name, last_name FROM contact
                   WHERE account_id = $1 AND peer_id = h.peer_id LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT nickname, photo_hidden, photo_change_id FROM peer_profile
                   WHERE account_id = $1 AND peer_id = h.peer_id LIMIT 1) f ON true
LEFT JOIN LATERAL (SELECT id, photo, preview FROM photo_change
                   WHERE id = f.photo_change_id LIMIT 1) s ON true
LEFT JOIN LATERAL (SELECT photo, photo_preview FROM chat_group
                   WHERE peer_id = h.peer_id AND EXISTS (
                       SELECT 1 FROM account_group o
                       WHERE o.account_id = $1 AND o.group_peer_id = h.peer_id OFFSET 0)
                   LIMIT 1) g ON true
ORDER BY page.place DESC, page.id DESC
