//! The HTTP contract, over real HTTP against the real program on a real PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod account_codes;
mod away;
mod contacts;
mod ground;
mod isolation;
mod lists;
mod messages;
mod races;
mod rules;
mod shared;
mod takeover;
