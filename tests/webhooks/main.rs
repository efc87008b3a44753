//! Webhooks: events posted to receivers that answer, fail, hang and come back.
//!
//! With `WINDU_TEST_SOAK=1` the tests with faults run with many more rounds.

#[path = "../support/mod.rs"]
mod support;

mod changes;
mod deliveries;
mod faults;
mod hook;
mod old_events;
mod receiver_faults;
mod replays;
mod settings;
mod trouble;
