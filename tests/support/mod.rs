//! Support code of all suites: a private PostgreSQL, the real program, an HTTP client, load, and waiting.

#![expect(dead_code, reason = "each suite uses its own part")]

pub mod client;
pub mod cluster;
pub mod guarantees;
pub mod keyed_load;
pub mod killed_command;
pub mod load;
pub mod media;
pub mod not_run;
pub mod owner;
pub mod people;
pub mod postgres;
pub mod proxy;
pub mod receiver;
pub mod server;
pub mod wait;
pub mod xmpp;
