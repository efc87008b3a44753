//! What surrounds the endpoints: each request passes it on the way in, each answer on the way out.

pub mod cors;
pub mod error_fallback;
pub mod idempotency;
pub mod paths;
pub mod request_timeout;
pub mod trace;
