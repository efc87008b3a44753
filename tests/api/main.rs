//! The HTTP contract, over real HTTP against the real program on a real PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod account_codes;
mod contacts;
mod ground;
mod oauth;
mod running;
mod isolation;
mod lists;
mod messages;
mod rules;
mod shared;
mod takeover;
