-- The accounts of a user whose number was never proved, which are limited, however many others the user has. No other
-- index begins like this one, so that what asks for it finds no other.
CREATE INDEX account_unproved ON account ((user_id + 0)) WHERE registered_at IS NULL AND proved_at IS NULL;
