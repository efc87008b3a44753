//! Sessions: the leases that say which process runs which, and what is asked of them.

pub mod command;
pub mod lease;
