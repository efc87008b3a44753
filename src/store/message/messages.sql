-- A page of a chat's messages, newest first, see history.rs.
--
-- Of the two queries for a page one is run; each has an index of its own. A negated id: looked up by an index of that alone.
-- LIMIT 1 and OFFSET 0: looked up by its key for each row, whatever the planner believes of the table's size.
WITH found AS MATERIALIZED (
   SELECT h.id, p.kind = 'group' AS is_group
   FROM (SELECT id, kind FROM peer WHERE network = $2 AND public_id = $3 OFFSET 0) p
   CROSS JOIN LATERAL (SELECT id FROM chat WHERE account_id = $1 AND peer_id = p.id LIMIT 1) h
), page AS MATERIALIZED (
   (SELECT * FROM message
    WHERE NOT $5 AND chat_id = (SELECT id FROM found) AND stored_at > $4
    ORDER BY stored_at DESC LIMIT $6 OFFSET $7)
   UNION ALL
   (SELECT * FROM message
    WHERE $5 AND -chat_id = -(SELECT id FROM found) AND sender_peer_id IS NOT NULL AND stored_at > $4
    ORDER BY stored_at DESC LIMIT $6 OFFSET $7))
SELECT m.network_id AS "id!", m.type AS "kind!", m.sender_peer_id IS NOT NULL AS "received!", m.text,
       m.details, coalesce(media.is_lost, false) AS "lost!",
       CASE WHEN found.is_group THEN (SELECT public_id FROM peer WHERE id = m.sender_peer_id)
       END AS participant,
       m.stored_at AS "time!", m.sent_at AS sent, m.delivered_at AS delivered, m.read_at AS read,
       m.state AS "state!", m.failure
FROM page m CROSS JOIN found
LEFT JOIN LATERAL (SELECT hash IS NULL AND retry_at IS NULL AS is_lost FROM message_media
                   WHERE message_id = m.id LIMIT 1) media ON true
ORDER BY m.stored_at DESC
