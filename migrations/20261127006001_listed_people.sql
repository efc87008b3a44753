-- The people that an account's all-in-one lists show, said once: its contacts that exist, and after them those who wrote first
-- (without a time). With a peer: that one alone.
--
-- A function of one query is part of the statement that calls it, so that its indexes are found as if it stood there.
CREATE FUNCTION listed_people(account bigint, peer bigint)
RETURNS TABLE (peer_id bigint, created_at timestamptz) LANGUAGE sql STABLE AS $$
    SELECT peer, NULL::timestamptz WHERE peer IS NOT NULL
    UNION ALL SELECT c.peer_id, c.created_at FROM contact c
    WHERE c.account_id = account AND c.exists_there AND peer IS NULL
    UNION ALL SELECT h.peer_id, NULL FROM chat h
    WHERE ~h.account_id = ~account AND h.peer_wrote AND peer IS NULL
      AND NOT EXISTS (SELECT 1 FROM contact c WHERE c.account_id = account AND c.peer_id = h.peer_id
                      AND c.exists_there OFFSET 0)
$$;
