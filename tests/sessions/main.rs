//! Sessions, from the supervisor to the store, on the local network and on one that does as it is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod cancelled;
mod commands;
mod connection;
mod desired;
mod files;
mod group_commit;
mod groups;
mod held;
mod ingest;
mod journal;
mod lease;
mod on_local;
mod outbox;
mod outcomes;
mod photos;
mod processes;
mod profiles;
mod receipts;
mod registering;
mod scripted;
mod shares;
mod silence;
mod stuck;
mod world;
