-- Stored files by their content. The row is there before the object is, and is the last to go, so that no object is
-- forgotten. A table that refers to a file has a foreign key to this one, with an index, and is part of
-- the view media_reference: what nothing refers to goes an hour after it was last put.
CREATE TABLE media_blob (
    hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    size bigint NOT NULL CHECK (size >= 0),
    mimetype text NOT NULL,
    put_at timestamptz NOT NULL DEFAULT now()
);
