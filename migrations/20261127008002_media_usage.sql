-- The bytes of the files that an account's messages refer to, each as often as it is referred to: counted as they change,
-- whoever changes them, so that a quota is checked without adding them up.
CREATE TABLE media_usage (
    account_id bigint PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    bytes bigint NOT NULL
);
INSERT INTO media_usage (account_id, bytes)
SELECT f.account_id, sum(b.size) FROM message_media f JOIN media_blob b ON b.hash = f.hash
JOIN account a ON a.id = f.account_id GROUP BY f.account_id;

CREATE FUNCTION count_media() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO media_usage AS u (account_id, bytes)
        SELECT f.account_id, sum(b.size) FROM new_row f JOIN media_blob b ON b.hash = f.hash
        GROUP BY f.account_id ORDER BY f.account_id
        ON CONFLICT (account_id) DO UPDATE SET bytes = u.bytes + excluded.bytes;
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE media_usage u SET bytes = u.bytes - f.bytes FROM (
            SELECT f.account_id, sum(b.size) AS bytes FROM old_row f JOIN media_blob b ON b.hash = f.hash
            GROUP BY f.account_id ORDER BY f.account_id) f
        WHERE u.account_id = f.account_id;
    ELSE
        INSERT INTO media_usage AS u (account_id, bytes)
        SELECT f.account_id, sum(f.sign * b.size) FROM (
            SELECT account_id, hash, 1 AS sign FROM new_row WHERE hash IS NOT NULL
            UNION ALL SELECT account_id, hash, -1 FROM old_row WHERE hash IS NOT NULL) f
        JOIN media_blob b ON b.hash = f.hash GROUP BY f.account_id ORDER BY f.account_id
        ON CONFLICT (account_id) DO UPDATE SET bytes = u.bytes + excluded.bytes;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER media_referred AFTER INSERT ON message_media REFERENCING NEW TABLE AS new_row
    FOR EACH STATEMENT EXECUTE FUNCTION count_media();
CREATE TRIGGER media_changed AFTER UPDATE ON message_media REFERENCING OLD TABLE AS old_row NEW TABLE AS new_row
    FOR EACH STATEMENT EXECUTE FUNCTION count_media();
CREATE TRIGGER media_left AFTER DELETE ON message_media REFERENCING OLD TABLE AS old_row
    FOR EACH STATEMENT EXECUTE FUNCTION count_media();

-- The oldest messages that have a file. The expression serves the statement that means them and keeps PostgreSQL from taking
-- the primary key, which also has those without one.
CREATE INDEX message_media_oldest ON message_media ((message_id + 0)) WHERE hash IS NOT NULL;
