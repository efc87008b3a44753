//! The HTTP API, and the only user of axum: the router, the middleware, the extractors, the errors, and one folder per
//! resource.

mod api;
mod docs;
pub mod error;
pub mod extract;
mod json;
pub mod metrics;
mod middleware;
mod oauth;
mod openapi;
pub mod rate_limit;
pub mod router;
pub mod server;
mod state;

pub use api::health::SlowChecks;
pub use state::{AppState, Shared, Started};
