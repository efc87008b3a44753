-- Tickets for streams and sockets of events: browsers send no header with them, and a token in a URL would be logged.
CREATE TABLE event_ticket (
    -- SHA-256 of the ticket.
    hash bytea PRIMARY KEY CHECK (length(hash) = 32),
    -- The access token of its caller: the ticket ends with it.
    access_hash bytea NOT NULL CHECK (length(access_hash) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX event_ticket_expiry ON event_ticket (expires_at);
