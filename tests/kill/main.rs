//! Programs that are killed, stopped and added while clients send: acknowledged messages arrive exactly once, in order.
//!
//! With `WINDU_TEST_SOAK=1` the tests run with many more rounds.

#[path = "../support/mod.rs"]
mod support;

mod group_messages;
mod keyed_endpoints;
mod keyed_sends;
mod killed;
mod obstacles;
mod paused_program;
mod processes;
mod restoration;
mod rolling_upgrade;
mod terminated;
mod user_deletion;
