//! Endpoints, one folder per resource.

mod account;
mod contacts;
mod done;
pub mod events;
mod groups;
pub mod health;
pub mod media;
mod messages;
mod photo;
pub mod webhooks;

use utoipa_axum::router::OpenApiRouter;

use super::AppState;

/// The endpoints below `/api`: they need a token.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(account::router())
        .merge(contacts::router())
        .merge(messages::router())
        .merge(groups::router())
        .merge(events::router())
        .merge(webhooks::router())
}
