//! All of axum: the router, the extractors, the errors, one file per resource.

mod account;
mod account_profile;
pub mod auth;
mod block_list;
pub mod body;
mod contact_lists;
mod contact_profile;
mod contacts;
mod cors;
mod done;
pub mod error;
mod group_photos;
mod groups;
mod health;
mod idempotency;
pub mod list;
mod media;
mod message_info;
mod messages;
mod oauth;
mod owned;
pub mod params;
mod paths;
mod patience;
mod photos;
mod range;
mod refusals;
pub mod router;
mod send_media;
pub mod server;
mod state;
mod target;
mod trace;
pub mod upload;

pub use state::{AppState, Shared, Started};
