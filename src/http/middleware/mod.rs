//! Middleware: layers around the endpoints that each request and each response passes.

pub mod allowed_methods;
pub mod cors;
pub mod deadline;
pub mod error_fallback;
pub mod idempotency;
pub mod paths;
pub mod trace;
