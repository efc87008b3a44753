-- What waits for the network goes with its message.
ALTER TABLE outbox
    DROP CONSTRAINT outbox_account_id_fkey,
    DROP CONSTRAINT outbox_chat_id_fkey;
