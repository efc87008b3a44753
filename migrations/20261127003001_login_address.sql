-- Failed logins per address and hour, over all user names, from addresses that never signed in as that user: who tries
-- one password with many names has few failures with each.
CREATE TABLE login_address_failure (
    address text PRIMARY KEY,
    failures integer NOT NULL,
    hour_began_at timestamptz NOT NULL
);
CREATE INDEX login_address_failure_hour ON login_address_failure (hour_began_at);
