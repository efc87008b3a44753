//! Sessions, from the supervisor to the store, on the local network and on a scripted one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod cancelled_transactions;
mod commands;
mod connection;
mod departures;
mod desired_state;
mod directories;
mod groups;
mod ingest;
mod journal;
mod lease_shares;
mod lists;
mod local_network;
mod locked_accounts;
mod log_out;
mod lost_lease;
mod network_code_endpoints;
mod network_limits;
mod network_registration;
mod network_state;
mod newer_version;
mod outbox;
mod peer_photos;
mod peer_profiles;
mod processes;
mod receipts;
mod received_files;
mod registration;
mod remote_ids;
mod scripted;
mod sealed_state;
mod silent_network;
mod stuck_accounts;
mod undeliverable_messages;
mod world;
mod writer;
