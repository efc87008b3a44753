//! The HTTP contract, over real HTTP against the real program on a real PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod ground;
mod oauth;
mod running;
