//! Middleware: layers around the endpoints that each request and each response passes.

pub mod cors;
pub mod error_fallback;
pub mod idempotency;
pub mod paths;
pub mod request_timeout;
pub mod trace;
