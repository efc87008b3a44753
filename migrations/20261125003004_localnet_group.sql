-- Groups of the network inside this program.
CREATE TABLE localnet_group (
    address text PRIMARY KEY,
    subject text NOT NULL,
    creator text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revision bigint NOT NULL DEFAULT 1
);

CREATE TABLE localnet_member (
    address text NOT NULL REFERENCES localnet_group (address) ON DELETE CASCADE,
    number text NOT NULL REFERENCES localnet_subscriber (number) ON DELETE CASCADE,
    admin boolean NOT NULL DEFAULT false,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- In which order they came.
    position integer NOT NULL,
    PRIMARY KEY (address, number)
);
CREATE INDEX localnet_member_number ON localnet_member (number, address);

-- What was done under which id: asked again, it is not done again.
CREATE TABLE localnet_operation (
    id text PRIMARY KEY,
    address text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX localnet_operation_at ON localnet_operation (at);
