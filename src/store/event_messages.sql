-- The messages that events are about, with the titles of their chats and authors as in the list of chats, see event_data.rs.
--
-- LIMIT 1 and OFFSET 0: looked up by its key for each row, whatever the planner believes of the table's size.
SELECT k.position AS "position!", m.network_id AS "id!", m.type AS "kind!", m.sender_peer_id IS NOT NULL AS "received!",
       CASE WHEN k.whole THEN m.text END AS text, CASE WHEN k.whole THEN m.details END AS details,
       coalesce(media.is_lost, false) AS "lost!",
       CASE WHEN p.kind = 'group' THEN author.public_id END AS participant,
       m.stored_at AS "time!", m.sent_at AS sent, m.delivered_at AS delivered, m.read_at AS read, m.state AS "state!",
       m.failure,
       coalesce(h.group_subject, nullif(trim(c.first_name || ' ' || c.last_name), ''), nullif(f.nickname, ''),
                p.public_id) AS "title!",
       CASE WHEN p.kind = 'group' THEN
           coalesce(nullif(trim(ac.first_name || ' ' || ac.last_name), ''), nullif(af.nickname, ''), author.public_id)
       END AS participant_title
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[])
     WITH ORDINALITY AS k (account_id, directory, chat, id, letter, whole, position)
CROSS JOIN LATERAL (
    SELECT id, kind, public_id FROM peer WHERE network = k.directory AND public_id = k.chat LIMIT 1) p
CROSS JOIN LATERAL (
    SELECT id, group_subject FROM chat WHERE account_id = k.account_id AND peer_id = p.id LIMIT 1) h
CROSS JOIN LATERAL (
    SELECT * FROM (SELECT * FROM message WHERE account_id = k.account_id AND network_id = k.id OFFSET 0) same
    WHERE chat_id = h.id ORDER BY type IS NOT DISTINCT FROM k.letter DESC, id LIMIT 1) m
LEFT JOIN LATERAL (
    SELECT hash IS NULL AND retry_at IS NULL AS is_lost FROM message_media WHERE k.whole AND message_id = m.id LIMIT 1) media ON true
LEFT JOIN LATERAL (
    SELECT first_name, last_name FROM contact WHERE k.whole AND account_id = k.account_id AND peer_id = p.id LIMIT 1) c ON true
LEFT JOIN LATERAL (
    SELECT nickname FROM peer_profile WHERE k.whole AND account_id = k.account_id AND peer_id = p.id LIMIT 1) f ON true
LEFT JOIN LATERAL (SELECT id, public_id FROM peer WHERE k.whole AND id = m.sender_peer_id LIMIT 1) author ON true
LEFT JOIN LATERAL (
    SELECT first_name, last_name FROM contact
    WHERE k.whole AND p.kind = 'group' AND account_id = k.account_id AND peer_id = author.id LIMIT 1) ac ON true
LEFT JOIN LATERAL (
    SELECT nickname FROM peer_profile
    WHERE k.whole AND p.kind = 'group' AND account_id = k.account_id AND peer_id = author.id LIMIT 1) af ON true
