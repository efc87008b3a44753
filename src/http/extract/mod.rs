//! Extractors, the arguments of handlers: the caller, the account, the recipient, parameters and files of a request.

pub mod account;
pub mod body;
pub mod body_budget;
pub mod caller;
mod idempotency;
pub mod page;
pub mod params;
pub mod recipient;
pub mod upload;

pub use idempotency::IdempotencyClaim;
