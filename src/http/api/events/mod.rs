//! Events: as a list, as a stream and over a socket.

mod list;
mod query;
pub mod socket;
pub mod stream;
pub mod ticket;

use utoipa_axum::router::OpenApiRouter;

use crate::http::AppState;

/// The routes of this folder that need a token.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().merge(list::router()).merge(stream::router()).merge(ticket::router())
}
