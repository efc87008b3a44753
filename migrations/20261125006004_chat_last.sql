-- Each message changes its chat's row. Without an index over what changes that is a change within the row's page, which
-- no index has to learn of. An account's chats are found by the account and sorted: 10,000 in a few milliseconds.
DROP INDEX chat_last;
