//! Sending text.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Content;
use crate::http::AppState;
use crate::http::api::messages::send::{SendAnswer, SendTo, Sent, send};
use crate::http::error::{ApiError, ErrorCode, Problem};
use crate::http::extract::IdempotencyClaim;
use crate::http::extract::params::{RequestParameters, Text};
use crate::http::extract::recipient::CachedRecipient;

/// The routes of this file.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(send_message))
}

#[derive(Deserialize, ToSchema)]
struct SendMessage {
    #[schema(value_type = String, max_length = 65536)]
    message: Text<65_536>,
}

/// Sends a text. The response means that the message is stored: it will be sent even if this server stops.
#[utoipa::path(post, path = "/api/messages/send-message/", tag = "messages",
    request_body = inline(SendTo<SendMessage>),
    responses((status = 200, body = Sent), ApiError, (status = 404, body = Problem)))]
async fn send_message(
    State(state): State<AppState>,
    to: CachedRecipient,
    claim: IdempotencyClaim,
    RequestParameters(body): RequestParameters<SendMessage>,
) -> SendAnswer<Sent> {
    if body.message.is_empty() {
        return Err(ApiError::bad_request(ErrorCode::InvalidParameter, "message: it must not be empty"));
    }
    send(&state, &to, &claim, Content::Text(body.message.into_inner()), Sent::new).await
}
