//! All of axum: the router, the extractors, the errors, one file per resource.

pub mod auth;
pub mod body;
mod cors;
pub mod error;
mod health;
pub mod list;
mod oauth;
pub mod params;
mod paths;
mod refusals;
pub mod router;
pub mod server;
mod state;
mod trace;

pub use state::AppState;
