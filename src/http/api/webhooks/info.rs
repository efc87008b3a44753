//! A webhook as its owner sees it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Timestamp, UncutTimestamp};
use crate::http::AppState;
use crate::http::error::ApiError;
use crate::store::{Waiting, Webhook};

#[derive(Serialize, ToSchema)]
pub struct WebhookInfo {
    id: String,
    url: String,
    /// Null: all that are stored.
    #[schema(required = true)]
    types: Option<Vec<String>>,
    /// Numbers; null: all, later ones too.
    #[schema(required = true)]
    accounts: Option<Vec<String>>,
    description: String,
    active: bool,
    /// ok; failing: the last attempt failed; paused: its owner made it inactive; disabled: the server did.
    state: &'static str,
    /// Of failing: the error of the last attempt. Of disabled: gone (the receiver answered 410) or failing (five days).
    #[schema(required = true)]
    reason: Option<String>,
    /// Since when it is in this state.
    #[schema(value_type = String)]
    since: Timestamp,
    #[schema(value_type = String)]
    since_timestamp: UncutTimestamp,
    #[schema(value_type = String)]
    created: Timestamp,
    #[schema(value_type = String)]
    created_timestamp: UncutTimestamp,
    /// Events that it has not accepted yet; at most 10000 are counted.
    waiting: i64,
    /// The time of the oldest of them.
    #[schema(value_type = Option<String>, required = true)]
    oldest: Option<Timestamp>,
    #[schema(value_type = Option<String>, required = true)]
    oldest_timestamp: Option<UncutTimestamp>,
    /// Until then the secret before the present one signs, too.
    #[schema(value_type = Option<String>, required = true)]
    old_until: Option<Timestamp>,
    #[schema(value_type = Option<String>, required = true)]
    old_until_timestamp: Option<UncutTimestamp>,
}

/// With what waits now.
pub async fn of(state: &AppState, webhook: Webhook) -> Result<WebhookInfo, ApiError> {
    let last = state.events.ends(webhook.user).await?.last;
    let filter = state.webhooks.filter(&webhook).await?;
    let waiting = state.store.waiting(&webhook, &filter, last).await?;
    Ok(WebhookInfo::new(webhook, waiting))
}

impl WebhookInfo {
    pub fn new(webhook: Webhook, waiting: Waiting) -> Self {
        let old_until =
            webhook.secrets.old.map(|(_, until)| until).filter(|until| *until > crate::clock::now());
        let failing = webhook.health.failing_since;
        let (state, reason, since) = match (webhook.active, webhook.disabled, failing) {
            (false, Some(reason), _) => ("disabled", Some(reason), webhook.since),
            (false, None, _) => ("paused", None, webhook.since),
            (true, _, Some(since)) => ("failing", webhook.health.failure, since),
            (true, _, None) => ("ok", None, webhook.since),
        };
        Self {
            id: webhook.public_id,
            url: webhook.url,
            types: webhook.types,
            accounts: webhook.accounts,
            description: webhook.description,
            active: webhook.active,
            state,
            reason,
            since: Timestamp(since),
            since_timestamp: UncutTimestamp(since),
            created: Timestamp(webhook.created_at),
            created_timestamp: UncutTimestamp(webhook.created_at),
            waiting: waiting.events,
            oldest: waiting.oldest.map(Timestamp),
            oldest_timestamp: waiting.oldest.map(UncutTimestamp),
            old_until: old_until.map(Timestamp),
            old_until_timestamp: old_until.map(UncutTimestamp),
        }
    }
}
