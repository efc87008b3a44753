//! One request to a receiver, and what its response means.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::secret::Secret;
use crate::clock;
use crate::domain::UserId;
use crate::events::RenderedEvent;
use crate::fair_share::{FairShare, Share};
use crate::fetch::{Fetch, FetchError, FetchResponse, Policy, Post, on_behalf_of};
use crate::metrics::METRICS;
use crate::store::Attempt;

/// From the first attempt to connect to the status.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// The same for a live event.
pub const LIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a response that are read.
const READ: usize = 16 * 1024;
/// Bytes of a response that are stored.
const STORED: usize = 1_024;
/// Characters of a detail.
const LONGEST_DETAIL: usize = 300;

/// Sends requests.
pub struct Sender {
    pub fetch: Arc<Fetch>,
    /// Requests in progress, so that those of one user leave room for the others.
    pub shares: FairShare<UserId>,
}

/// Where events are sent.
#[derive(Clone)]
pub struct Target {
    pub user: UserId,
    pub url: Url,
    pub secret: Secret,
    /// The one before, and until when it signs, too.
    pub old_secret: Option<(Secret, DateTime<Utc>)>,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: DateTime<Utc>,
    pub verdict: Verdict,
    took: Duration,
    status: Option<u16>,
    /// `None`: it was accepted.
    pub error: Option<&'static str>,
    detail: Option<String>,
    response: Option<String>,
    /// The seconds that the receiver asks for.
    pub retry_after: Option<u64>,
}

/// What a request means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// The receiver wants no more events.
    Gone,
    /// The receiver is away: all events wait.
    ReceiverFailed,
    /// The receiver refused this event.
    EventRefused,
    /// This process could not send it.
    NotTried,
}

impl Sender {
    /// The right to one request; `None`: the user has too many in progress, as seen from what all have.
    pub fn share(&self, user: UserId) -> Option<Share<UserId>> {
        self.shares.take(user, 1)
    }

    /// Posts a body under the id of an event, if the user may have one more request in progress.
    pub async fn send_fairly(&self, target: &Target, id: &str, body: String, limit: Duration) -> Sent {
        match self.share(target.user) {
            Some(share) => self.send(&share, target, id, body, limit).await,
            None => failed(&FetchError::Busy, clock::now()),
        }
    }

    /// Posts a body under the id of an event.
    pub async fn send(
        &self,
        _share: &Share<UserId>,
        target: &Target,
        id: &str,
        body: String,
        limit: Duration,
    ) -> Sent {
        let (at, began) = (clock::now(), Instant::now());
        let mut sent = match self.post(target, id, body, at, limit).await {
            Ok(response) => responded(response, at, began + limit).await,
            Err(error) => failed(&error, at),
        };
        sent.took = began.elapsed();
        METRICS.webhook_attempt(match sent.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Gone => "gone",
            Verdict::ReceiverFailed => "receiver_failed",
            Verdict::EventRefused => "event_refused",
            Verdict::NotTried => "not_tried",
        });
        sent
    }

    async fn post(
        &self,
        target: &Target,
        id: &str,
        body: String,
        at: DateTime<Utc>,
        limit: Duration,
    ) -> Result<FetchResponse, FetchError> {
        let timestamp = at.timestamp();
        let old = target.old_secret.as_ref().filter(|(_, until)| *until > at).map(|(old, _)| old);
        // The new one is the first.
        let secrets = std::iter::once(&target.secret).chain(old);
        let signatures: Vec<String> =
            secrets.filter_map(|secret| secret.sign(id, timestamp, body.as_bytes())).collect();
        let post = Post::json(target.url.clone(), body, limit)
            .header("user-agent", "Windu")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp.to_string())
            .header(HEADER_WEBHOOK_SIGNATURE, signatures.join(" "));
        on_behalf_of(target.user, self.fetch.post(Policy::Webhook, post)).await
    }
}

async fn responded(response: FetchResponse, at: DateTime<Utc>, until: Instant) -> Sent {
    let (status, retry_after) = (response.status(), response.retry_after());
    let (verdict, error) = match status {
        200..=299 => (Verdict::Accepted, None),
        410 => (Verdict::Gone, Some("status")),
        429 | 502..=504 => (Verdict::ReceiverFailed, Some("status")),
        300..=399 => (Verdict::EventRefused, Some("redirect")),
        _ => (Verdict::EventRefused, Some("status")),
    };
    // The status counts, whatever comes of the body.
    let body = timeout_at(until, response.beginning(READ)).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(STORED)]).replace('\0', "\u{fffd}");
    let detail = error.map(|error| match error {
        "redirect" => format!("status {status}; redirects are not followed"),
        _ => format!("status {status}"),
    });
    Sent {
        at,
        verdict,
        took: Duration::ZERO,
        status: Some(status),
        error,
        detail,
        response: Some(text).filter(|text| !text.is_empty()),
        retry_after: retry_after.filter(|_| verdict != Verdict::Accepted),
    }
}

fn failed(error: &FetchError, at: DateTime<Utc>) -> Sent {
    let verdict = match error {
        FetchError::Busy => Verdict::NotTried,
        _ => Verdict::ReceiverFailed,
    };
    let detail = match error {
        FetchError::NotAllowed => {
            "the URL leads to an address that this server must not reach, or not by this scheme and port"
                .to_owned()
        }
        error => error.detail().chars().take(LONGEST_DETAIL).collect(),
    };
    Sent {
        at,
        verdict,
        took: Duration::ZERO,
        status: None,
        error: Some(error.stage()),
        detail: Some(detail),
        response: None,
        retry_after: None,
    }
}

impl Sent {
    /// The attempt as it is listed. `nth`: from 1 on.
    pub fn recorded(
        &self,
        event: &RenderedEvent,
        nth: i32,
        next: Option<DateTime<Utc>>,
        is_replay: bool,
    ) -> Attempt {
        Attempt {
            event_id: event.id.clone(),
            kind: event.kind.clone(),
            account: event.account.clone(),
            seq: event.seq,
            attempt: nth,
            at: self.at,
            milliseconds: i32::try_from(self.took.as_millis()).unwrap_or(i32::MAX),
            status: self.status.and_then(|status| i16::try_from(status).ok()),
            error: self.error.map(str::to_owned),
            detail: self.detail.clone(),
            response: self.response.clone(),
            next,
            is_replay,
        }
    }
}
