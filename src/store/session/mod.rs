//! Leases, which say which process runs a session, and the commands to sessions.

pub mod command;
pub mod lease;
