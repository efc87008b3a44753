//! The HTTP API, and the only user of axum: the router, the middleware, the extractors, the errors, and one folder per
//! resource.

mod api;
pub mod error;
pub mod extract;
mod middleware;
mod oauth;
pub mod router;
pub mod server;
mod state;

pub use state::{AppState, Shared, Started};
