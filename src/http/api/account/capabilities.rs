//! What the network of an account can.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::PhoneNumber;
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::http::extract::account::StoredAccount;
use crate::http::json::Json;
use crate::upstream::Feature;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(capabilities))
}

#[derive(Serialize, ToSchema)]
struct AccountCapabilities {
    /// The number.
    #[schema(value_type = String)]
    account: PhoneNumber,
    /// The upstream network, such as `local`.
    network: String,
    /// By the name of the feature: `full`, `lossy` (something is lost on the way) or `none`.
    features: BTreeMap<&'static str, &'static str>,
    limits: Limits,
}

#[derive(Serialize, ToSchema)]
struct Limits {
    /// Bytes of a text at the most, with what the network's format adds; null: as many as the API takes.
    #[schema(required = true)]
    text_bytes: Option<usize>,
    /// Bytes of a file at the most; null: as many as the API takes, or not known yet.
    #[schema(required = true)]
    file_bytes: Option<u64>,
    /// The letters of the messages that can be sent, as `type` in lists of messages: t text, i image, v video, a audio,
    /// s voice, l location, c vcard.
    kinds: &'static [&'static str],
    /// Seconds after a person's last message for which that person may be written to; null: at any time.
    #[schema(required = true)]
    reply_seconds: Option<u64>,
    /// Members of a group at the most.
    group_size: usize,
    /// Seconds for which a message may be edited; null: without an end.
    #[schema(required = true)]
    edit_seconds: Option<u64>,
    /// Seconds for which a message may be deleted for everyone; null: without an end.
    #[schema(required = true)]
    delete_seconds: Option<u64>,
    /// Options of a poll at the most.
    poll_options: usize,
}

/// What the account's network can. Needs no session. What is not named here, every network can.
#[utoipa::path(get, path = "/api/account/capabilities/", tag = "account",
    responses((status = 200, body = AccountCapabilities), ApiError))]
async fn capabilities(
    State(state): State<AppState>,
    StoredAccount(account): StoredAccount,
) -> Result<Json<AccountCapabilities>, ApiError> {
    let capabilities = state.sessions.capabilities(&account)?;
    let features = Feature::ALL.iter().map(|(feature, name)| (*name, capabilities.support(*feature).name()));
    Ok(Json(AccountCapabilities {
        account: account.number,
        features: features.collect(),
        limits: Limits {
            text_bytes: capabilities.text_bytes,
            file_bytes: capabilities.file_bytes,
            kinds: capabilities.kinds,
            reply_seconds: capabilities.reply_seconds,
            group_size: capabilities.group_size,
            edit_seconds: capabilities.edit_seconds,
            delete_seconds: capabilities.delete_seconds,
            poll_options: capabilities.poll_options,
        },
        network: account.network,
    }))
}
