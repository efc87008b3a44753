-- The contact list and the block list of a subscriber. They name numbers, whether or not those exist.
CREATE TABLE localnet_contact (
    owner text NOT NULL REFERENCES localnet_subscriber (number) ON DELETE CASCADE,
    contact text NOT NULL,
    PRIMARY KEY (owner, contact)
);
CREATE TABLE localnet_block (
    owner text NOT NULL REFERENCES localnet_subscriber (number) ON DELETE CASCADE,
    blocked text NOT NULL,
    PRIMARY KEY (owner, blocked)
);
