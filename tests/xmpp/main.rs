//! The network `xmpp` with real servers.

#[path = "../support/mod.rs"]
mod support;
