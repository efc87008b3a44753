//! The HTTP contract, over real HTTP against the real program on a real PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod account;
mod account_codes;
mod account_profile;
mod account_selection;
mod audit;
mod block_list;
mod bodies;
mod chat_list;
mod command_line;
mod concurrent_requests;
mod connection_limits;
mod contact_import;
mod contact_profile;
mod contacts;
mod contract;
mod cors;
mod database_outage;
mod documentation;
mod groups;
mod idempotency;
mod isolation;
mod media_messages;
mod media_quota;
mod messages;
mod metrics;
mod number_takeover;
mod oauth;
mod paging;
mod profile_photos;
mod rate_limits;
mod refusals;
mod request_heads;
mod request_log;
mod retention;
mod routing;
mod shared_server;
mod slices;
mod start_and_stop;
mod traces;
