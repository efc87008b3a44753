//! All of axum: the router, the extractors, the errors, one file per resource.

pub mod error;
mod health;
pub mod router;
pub mod server;
mod state;

pub use state::AppState;
