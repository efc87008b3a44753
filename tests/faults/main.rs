//! Faults around the program while clients send: PostgreSQL stops, hangs, is cut off, is killed or has a full disk;
//! clients do not read their responses. Afterwards all guarantees hold.
//!
//! With `WINDU_TEST_SOAK=1` the tests run longer and with more rounds.

#[path = "../support/mod.rs"]
mod support;

mod broken_commits;
mod deadlines;
mod frozen_database;
mod full_disk;
mod full_outbox;
mod killed_database;
mod memory;
mod outage;
mod proxy;
mod slow_clients;
mod stopped_database;
