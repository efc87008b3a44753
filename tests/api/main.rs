//! The HTTP contract, over real HTTP against the real program on a real PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod account_codes;
mod account_profile;
mod away;
mod block_list;
mod command_line;
mod contact_lists;
mod contact_profile;
mod contacts;
mod ground;
mod groups;
mod idempotency;
mod isolation;
mod lists;
mod media_messages;
mod messages;
mod oauth;
mod photos;
mod races;
mod rows;
mod rules;
mod running;
mod shared;
mod takeover;
