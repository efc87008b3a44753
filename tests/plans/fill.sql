-- Fills a database around an account, whose number is :anna, its friend :bert, and the group :grp that both are in: years
-- of use by them, and more by others. The account of :anna has
--     10,000 contacts, 10,000 blocked people, 20,000 chats, 500 groups, 100,000 events, 2,000 other accounts of its user;
--     100,000 messages with :bert, of which 10,000 are unread; 30,000 in a chat where nobody ever answered;
--     8,000 messages in its outbox that wait for a later attempt.
-- Rows of one account are not side by side, so that a statement that reads many of them touches many buffers.
-- Numbers of people are 16 and nine digits: 1 to 10,000 are contacts, to 20,000 people with chats, to 30,000 blocked.
-- Nobody runs the network `elsewhere`: its accounts have work that stays.

SET synchronous_commit = off;
SET work_mem = '64MB';

SELECT a.id AS account, a.counter_id AS counter, a.user_id AS owner, p.id AS own
FROM account a JOIN peer p ON p.public_id = a.number WHERE a.number = :'anna' \gset
SELECT id AS bert_peer FROM peer WHERE public_id = :'bert' \gset
SELECT h.id AS bert_chat FROM chat h WHERE h.account_id = :account AND h.peer_id = :bert_peer \gset

-- People.
CREATE TEMPORARY TABLE person AS
SELECT i, '16' || lpad(i::text, 9, '0') AS number FROM generate_series(1, 60000) i;
CREATE UNIQUE INDEX ON person (i);
INSERT INTO peer (network, address, number, public_id)
SELECT 'local', number, number, number FROM person ORDER BY i
ON CONFLICT DO NOTHING;
ALTER TABLE person ADD COLUMN id bigint;
UPDATE person SET id = p.id FROM peer p WHERE p.network = 'local' AND p.public_id = person.number;
INSERT INTO localnet_subscriber (number, incarnation) SELECT number, md5(number) FROM person WHERE i <= 30000 ORDER BY i;

-- Other users, each with an account on a network that nobody runs; and of the first account's user 1,000 older ones that
-- are not registered, and 1,000 younger ones that are.
CREATE TEMPORARY TABLE other AS
SELECT i, '17' || lpad(i::text, 9, '0') AS number FROM generate_series(1, 5000) i;
INSERT INTO windu_user (name, password_hash) SELECT number, '-' FROM other ORDER BY i;
INSERT INTO account_counter (user_id, number, epoch)
SELECT u.id, number, '-' FROM other JOIN windu_user u ON u.name = number ORDER BY i;
INSERT INTO account_counter (user_id, number, epoch)
SELECT :owner, '18' || lpad(i::text, 9, '0'), '-' FROM generate_series(1, 2000) i;
INSERT INTO account (user_id, number, counter_id, network, proved_at, registered_at, session_state, created_at)
SELECT c.user_id, c.number, c.id, 'elsewhere', now(),
       CASE WHEN c.user_id <> :owner OR c.number > '18000001000' THEN now() END, 'starting',
       CASE WHEN c.number > '18000001000' THEN now() + interval '1 second' ELSE '2020-01-01' END
FROM account_counter c WHERE c.epoch = '-' ORDER BY c.id;
CREATE TEMPORARY TABLE other_account AS
SELECT row_number() OVER (ORDER BY a.id) AS i, a.id, a.counter_id FROM account a JOIN other o ON o.number = a.number;
CREATE UNIQUE INDEX ON other_account (i);

-- The checks of foreign keys would take most of the time.
SET session_replication_role = replica;

-- Contacts, blocked people, and what is known of them.
INSERT INTO contact (account_id, peer_id, first_name, exists_there, created_at)
SELECT :account, id, 'Number ' || i, true, now() - i * interval '1 second' FROM person WHERE i <= 10000 ORDER BY md5(number)
ON CONFLICT DO NOTHING;
INSERT INTO contact (account_id, peer_id, first_name, exists_there)
SELECT o.id, p.id, 'Number ' || p.i, true
FROM other_account o JOIN person p ON p.i BETWEEN o.i * 100 AND o.i * 100 + 99 WHERE o.i <= 500 ORDER BY o.i, p.i;
INSERT INTO block (account_id, peer_id)
SELECT :account, id FROM person WHERE i BETWEEN 20001 AND 30000 ORDER BY md5(number)
ON CONFLICT DO NOTHING;
INSERT INTO block (account_id, peer_id)
SELECT o.id, p.id FROM other_account o JOIN person p ON p.i BETWEEN o.i * 50 AND o.i * 50 + 49
WHERE o.i <= 500 ORDER BY o.i, p.i;
UPDATE account SET contacts = 10000, blocked = 10000 WHERE id = :account;
INSERT INTO media_blob (hash, size, mimetype, put_at)
SELECT sha256(i::text::bytea), 1000, 'image/jpeg', now() - interval '1 day' FROM generate_series(1, 20000) i;
INSERT INTO photo_change (account_id, peer_id, photo, preview, updated)
SELECT :account, id, sha256((i % 15000)::text::bytea), sha256((i % 15000 + 1)::text::bytea), now() - interval '1 day'
FROM person WHERE i BETWEEN 1 AND 10000 ORDER BY i;
INSERT INTO photo_change (account_id, peer_id, updated)
SELECT o.id, p.id, now() FROM other_account o JOIN person p ON p.i BETWEEN o.i * 100 AND o.i * 100 + 99
WHERE o.i <= 300 ORDER BY o.i, p.i;
INSERT INTO status_change (account_id, peer_id, value, updated)
SELECT account_id, peer_id, 'Hello', updated FROM photo_change;
INSERT INTO peer_profile (account_id, peer_id, nickname, status_message, online, photo_change_id)
SELECT account_id, peer_id, 'Nick', 'Hello', false, id FROM photo_change
ON CONFLICT DO NOTHING;
INSERT INTO pending_photo (account_id, peer_id, photo)
SELECT o.id, p.id, 'reference' FROM other_account o JOIN person p ON p.i BETWEEN 1 AND 10000 WHERE o.i = 1;

-- Chats.
INSERT INTO chat (account_id, peer_id, peer_wrote)
SELECT :account, id, true FROM person WHERE i BETWEEN 1 AND 20000 ORDER BY md5(number)
ON CONFLICT DO NOTHING;
INSERT INTO chat (account_id, peer_id, peer_wrote)
SELECT o.id, p.id, true FROM other_account o JOIN person p ON p.i BETWEEN o.i * 10 AND o.i * 10 + 9 ORDER BY o.i, p.i;
INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at, sent_at,
                     read_at)
SELECT h.account_id, h.id, md5('chat ' || h.id), h.peer_id, 'received', 't', 'Good day', sha256('Good day'),
       now() - interval '2 days' + h.id * interval '1 millisecond', now(), now()
FROM chat h JOIN person p ON p.id = h.peer_id ORDER BY h.id;
INSERT INTO message (account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint, stored_at, sent_at,
                     delivered_at, read_at)
SELECT :account, :bert_chat, md5('long ' || i), CASE WHEN i > 60000 THEN :bert_peer::bigint END,
       CASE WHEN i > 60000 THEN 'received' ELSE 'sent' END, 't', 'Message ' || i, sha256('x'),
       now() - interval '1 day' + i * interval '100 ms', now(),
       CASE WHEN i <= 60000 THEN now() - interval '1 day' + i * interval '101 ms' END,
       CASE WHEN i <= 90000 THEN now() - interval '1 day' + i * interval '102 ms' END
FROM generate_series(1, 100000) i;
INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at, sent_at, delivered_at)
SELECT :account, h.id, md5('silent ' || n), 'sent', 't', 'Message ' || n, sha256('x'),
       now() - interval '1 day' + n * interval '100 ms', now(), now() - interval '1 day' + n * interval '101 ms'
FROM generate_series(1, 30000) n, chat h JOIN person p ON p.id = h.peer_id AND p.i = 1 WHERE h.account_id = :account;
UPDATE chat h SET last_message_id = m.id, last_at = m.stored_at, unread = m.unread
FROM (SELECT chat_id, max(id) AS id, max(stored_at) AS stored_at,
             count(*) FILTER (WHERE sender_peer_id IS NOT NULL AND read_at IS NULL) AS unread
      FROM message GROUP BY chat_id) m
WHERE m.chat_id = h.id;

-- Queues: of the account, messages that wait for a later attempt; of a few others, messages and receipts that are due.
INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
SELECT h.account_id, h.id, md5('queued ' || h.id || n), 'queued', 't', 'Later', sha256('x'),
       now() - interval '1 minute' + (h.id * 40 + n) * interval '1 microsecond'
FROM chat h JOIN person p ON p.id = h.peer_id, generate_series(1, 40) n
WHERE h.account_id = :account AND p.i BETWEEN 101 AND 300 ORDER BY h.id, n;
INSERT INTO message (account_id, chat_id, network_id, state, type, text, fingerprint, stored_at)
SELECT h.account_id, h.id, md5('queued ' || h.id || n), 'queued', 't', 'Later', sha256('x'), now()
FROM other_account o JOIN chat h ON h.account_id = o.id, generate_series(1, 500) n WHERE o.i <= 4 ORDER BY h.id, n;
INSERT INTO outbox (message_id, account_id, chat_id, attempts, retry_at, expires_at)
SELECT id, account_id, chat_id, 1, CASE WHEN account_id = :account THEN now() + interval '1 hour' ELSE now() END,
       now() + interval '1 day'
FROM message WHERE state = 'queued'
ON CONFLICT DO NOTHING;
INSERT INTO receipt_outbox (message_id, account_id)
SELECT m.id, o.id FROM message m, other_account o WHERE m.account_id = :account AND m.chat_id = :bert_chat AND o.i = 5
ORDER BY m.id LIMIT 20000;
INSERT INTO message_media (message_id, account_id, retry_at)
SELECT m.id, m.account_id, now() FROM message m JOIN other_account o ON o.id = m.account_id
WHERE m.sender_peer_id IS NULL AND o.i <= 4 ORDER BY m.id LIMIT 5000;

-- What a network with ids of its own would have brought.
INSERT INTO message_remote (message_id, account_id, chat_id, remote_id)
SELECT id, account_id, chat_id, 'r' || id FROM message
WHERE account_id = :account AND sender_peer_id IS NULL AND state = 'sent' ORDER BY md5(network_id)
ON CONFLICT DO NOTHING;
INSERT INTO early_event (account_id, peer_id, from_peer_id, remote_id, kind, details, fingerprint)
SELECT :account, p.id, p.id, 'e' || n % 5000, 'receipt', '{"read": true, "up_to": false}', int4send(n)
FROM generate_series(1, 9900) n JOIN person p ON p.i = n % 50 + 1 ORDER BY n;
UPDATE account SET early_events = 9900 WHERE id = :account;
INSERT INTO early_event (account_id, peer_id, from_peer_id, remote_id, kind, details, fingerprint, noted_at)
SELECT o.id, p.id, p.id, 'e' || n, 'read_elsewhere', '{}', int4send(n), now() - interval '2 days'
FROM generate_series(1, 5000) n JOIN person p ON p.i = n % 50 + 1 JOIN other_account o ON o.i = n % 7 + 1 ORDER BY n;

-- Journals.
BEGIN;
SELECT seq FROM account_counter WHERE id = :counter FOR UPDATE \gset
INSERT INTO event (counter_id, seq, at, kind, payload)
SELECT :counter, :seq + i, now(), 'message.received', '{"chat": "15550000000", "id": "0", "kind": "t"}'
FROM generate_series(1, 100000) i;
UPDATE account_counter SET seq = seq + 100000 WHERE id = :counter;
COMMIT;
INSERT INTO event (counter_id, seq, at, kind, payload)
SELECT o.counter_id, n, now(), 'message.received', '{"chat": "15550000000", "id": "0", "kind": "t"}'
FROM other_account o, generate_series(1, 10) n ORDER BY 1, 2;

-- Groups: 2,000, each with the account or not, and four others.
CREATE TEMPORARY TABLE team AS
SELECT i, 'group:filled-' || i AS address, '16000000001-' || (1500000000 + i) AS public_id FROM generate_series(1, 2000) i;
INSERT INTO peer (network, address, kind, public_id) SELECT 'local', address, 'group', public_id FROM team ORDER BY i;
ALTER TABLE team ADD COLUMN id bigint;
UPDATE team SET id = p.id FROM peer p WHERE p.network = 'local' AND p.address = team.address;
INSERT INTO chat_group (peer_id, subject, created_at, revision)
SELECT id, 'Group ' || i, now() - interval '1 year' + i * interval '1 minute', 1 FROM team ORDER BY i;
INSERT INTO group_member (group_peer_id, member_peer_id, admin, since, position)
SELECT t.id, p.id, p.i = t.i * 4 + 1, now() - interval '1 year', p.i - t.i * 4
FROM team t JOIN person p ON p.i BETWEEN t.i * 4 + 1 AND t.i * 4 + 4;
INSERT INTO group_member (group_peer_id, member_peer_id, admin, since, position)
SELECT id, :own, false, now() - interval '1 year', 5 FROM team WHERE i <= 500;
INSERT INTO chat (account_id, peer_id, group_revision, group_subject)
SELECT :account, id, 1, 'Group ' || i FROM team WHERE i <= 500 ORDER BY i;
INSERT INTO localnet_group (address, subject, creator) SELECT address, 'Group ' || i, '16000000001' FROM team ORDER BY i;
INSERT INTO localnet_member (address, number, admin, position)
SELECT t.address, p.public_id, m.admin, m.position
FROM team t JOIN group_member m ON m.group_peer_id = t.id JOIN peer p ON p.id = m.member_peer_id;
INSERT INTO message_receipt (message_id, peer_id, delivered_at)
SELECT m.id, p.id, now() FROM message m, person p WHERE m.state = 'queued' AND p.i <= 2;

-- The network's own tables.
INSERT INTO localnet_contact (owner, contact)
SELECT o.number, p.number FROM person o JOIN person p ON p.i BETWEEN o.i * 20 AND o.i * 20 + 19 WHERE o.i <= 1500;
INSERT INTO localnet_block (owner, blocked) SELECT owner, contact FROM localnet_contact WHERE owner LIKE '16%';
INSERT INTO localnet_watch (watched, watcher) SELECT contact, owner FROM localnet_contact WHERE owner LIKE '16%';
INSERT INTO localnet_watch (watched, watcher) SELECT :'anna', number FROM person WHERE i BETWEEN 27001 AND 30000;
INSERT INTO localnet_stanza (recipient, sender, stanza)
SELECT '16000000005', :'bert', jsonb_build_object('stanza', 'text', 'id', md5('waiting ' || i), 'text', 'Waiting')
FROM generate_series(1, 50000) i;
INSERT INTO localnet_stanza (recipient, sender, stanza)
SELECT :'bert', :'anna', jsonb_build_object('stanza', 'text', 'id', md5('backlog ' || i), 'text', 'Backlog')
FROM generate_series(1, 2000) i;
INSERT INTO localnet_operation (id, address, at)
SELECT md5(i::text), 'group:filled-1', now() - CASE WHEN i <= 2000 THEN interval '3 days' ELSE interval '0' END
FROM generate_series(1, 20000) i;
INSERT INTO localnet_media (reference, hash, uploaded_at)
SELECT i::text, sha256((i % 15000 + 1)::text::bytea),
       now() - CASE WHEN i <= 2000 THEN interval '60 days' ELSE interval '0' END
FROM generate_series(1, 20000) i;

-- Logins, codes, commands and keys: 2,000 of each have expired.
INSERT INTO oauth_grant (user_id, client_id, scope)
SELECT :owner, o.id, 'read write' FROM generate_series(1, 20000), oauth_client o;
INSERT INTO oauth_token (grant_id, access_hash, access_scope, access_expires_at, refresh_hash, refresh_expires_at)
SELECT g.id, sha256(('a' || g.id)::bytea), 'read write', t.at, sha256(('r' || g.id)::bytea), t.at
FROM (SELECT *, row_number() OVER (ORDER BY id DESC) AS i FROM oauth_grant) g,
     LATERAL (SELECT now() + CASE WHEN i <= 2000 THEN interval '-1 day' ELSE interval '1 day' END AS at) t
WHERE NOT EXISTS (SELECT 1 FROM oauth_token o WHERE o.grant_id = g.id);
INSERT INTO login_failure (name_hash, address, failures, failed_at, blocked_until)
SELECT sha256(i::text::bytea), '10.0.0.1', 1, at, at FROM generate_series(1, 20000) i,
       LATERAL (SELECT now() - CASE WHEN i <= 2000 THEN interval '2 hours' ELSE interval '0' END AS at) t;
INSERT INTO login_stranger (name_hash, failures, hour_began_at) SELECT name_hash, 1, failed_at FROM login_failure;
INSERT INTO login_address (user_id, address, signed_in_at)
SELECT :owner, '10.' || i / 256 || '.' || i % 256 || '.1',
       now() - CASE WHEN i <= 2000 THEN interval '60 days' ELSE interval '0' END FROM generate_series(1, 20000) i;
INSERT INTO verification_code (account_id, mac, method, expires_at)
SELECT o.id, '', 'sms', now() - CASE WHEN n = 1 AND o.i <= 2000 THEN interval '3 days' ELSE interval '0' END
FROM other_account o, generate_series(1, 4) n;
INSERT INTO registration (account_id, number, updated_at)
SELECT id, '1', now() - CASE WHEN i <= 2000 THEN interval '3 days' ELSE interval '0' END FROM other_account;
INSERT INTO code_sent (user_id, number, sent_at)
SELECT :owner, :'anna', now() - CASE WHEN i <= 2000 THEN interval '26 hours' ELSE interval '24 hours 10 minutes' END
FROM generate_series(1, 20000) i;
INSERT INTO code_guess (user_id, guessed_at) SELECT user_id, sent_at FROM code_sent WHERE user_id = :owner;
INSERT INTO command (account_id, request, state, created_at, deadline)
SELECT :account, '{}', 'done', now() - CASE WHEN i <= 2000 THEN interval '2 hours' ELSE interval '0' END, now()
FROM generate_series(1, 20000) i;
INSERT INTO idempotency_key (user_id, route, key, fingerprint, process_id, status, content_type, body, created_at)
SELECT :owner, 'POST /api/messages/send-message/', 'filled ' || i, sha256('x'), 0, 200, 'application/json', '{}',
       now() - CASE WHEN i <= 2000 THEN interval '3 days' ELSE interval '0' END
FROM generate_series(1, 20000) i;
