//! Messages: sent, listed, and marked as read. One file per action.

mod chats;
mod history;
mod media_quota;
mod receipts;
mod send;
mod send_media;
mod send_text;
mod typing;

use utoipa_axum::router::OpenApiRouter;

use crate::http::AppState;

/// The routes of this folder.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(send_text::router())
        .merge(send_media::router())
        .merge(typing::router())
        .merge(chats::router())
        .merge(history::router())
        .merge(receipts::router())
}
