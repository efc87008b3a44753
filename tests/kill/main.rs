//! Programs are killed, stopped and added while clients send: what was acknowledged arrives exactly once, in order.
//!
//! With `WINDU_TEST_SOAK=1` the same with many more rounds.

#[path = "../support/mod.rs"]
mod support;

mod aftermath;
mod groups;
mod keyed;
mod keyed_rows;
mod killed;
mod obstacles;
mod paused;
mod processes;
mod repeaters;
mod rolling;
mod storm;
mod terminated;
