//! Verification codes against a real PostgreSQL and real HTTP listeners that behave like the providers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod guesses;
mod limits;
mod provider;
mod sending;
mod twilio;
mod webhook;
mod world;
