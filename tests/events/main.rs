//! Events: one sequence for each user, as a list, as a stream and over a socket.
//!
//! With `WINDU_TEST_SOAK=1` the tests with faults run with many more rounds.

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod cursors;
mod faults;
mod follower;
mod kinds;
mod list;
mod socket;
mod sse;
mod stream;
mod tokens;
mod websocket;
