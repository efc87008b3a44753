//! What is around the program fails while clients send: PostgreSQL stops, hangs, is cut off, is killed, has no room
//! left; clients do not take their answers. Afterwards everything is as the guarantees say.
//!
//! With `WINDU_TEST_SOAK=1` the same longer and more often.

#[path = "../support/mod.rs"]
mod support;

mod broken_commits;
mod frozen_database;
mod full_disk;
mod full_outbox;
mod killed_database;
mod outage;
mod proxy;
mod slow_clients;
mod stopped_database;
