-- The photos of one account that are due, whoever else has some.
DROP INDEX pending_photo_due;
CREATE INDEX pending_photo_due ON pending_photo (account_id, retry_at);
