//! The task that sends the events of one webhook.

mod delivery;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::delivery::Delivery;
use super::Webhooks;
use super::attempt::Sent;
use super::state::{Source, State};
use crate::db::DbError;
use crate::events::RenderedEvent;
use crate::store::{Webhook, WebhookLease, topic};
use crate::telemetry::chain;

/// The pause after an error of the database.
const RETRY: Duration = Duration::from_millis(500);
/// How long requests in progress are waited for when the worker has to end.
const FINISH: Duration = Duration::from_secs(16);
/// Live events that are sent at the same time; more are lost.
const LIVE: usize = 8;

type InProgress = FuturesUnordered<BoxFuture<'static, (Source, RenderedEvent, Sent)>>;

/// Why the work on a webhook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its owner changed it.
    Changed,
    /// It is another process's, inactive or deleted.
    Lost,
    Stopped,
}

pub(super) struct Worker {
    pub webhooks: Webhooks,
    pub lease: WebhookLease,
    pub stop: CancellationToken,
}

impl Worker {
    /// Sends until the lease ends or the worker is stopped, and gives the lease back.
    pub async fn run(self) {
        loop {
            let outcome = match self.webhooks.store().leased_webhook(&self.lease).await {
                Ok(Some(webhook)) if webhook.active => self.deliver(webhook).await,
                Ok(_) => Ok(End::Lost),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(End::Changed) => {}
                Ok(End::Lost | End::Stopped) => break,
                Err(error) => {
                    tracing::debug!(webhook = %self.lease.webhook, error = chain(&error), "a webhook waits for the database");
                    tokio::select! {
                        () = sleep(RETRY) => {}
                        () = self.stop.cancelled() => break,
                    }
                }
            }
        }
        if let Err(error) = self.webhooks.store().release_webhook(&self.lease).await {
            tracing::debug!(error = chain(&error), "the lease of a webhook was not given back; it expires");
        }
    }

    async fn deliver(&self, webhook: Webhook) -> Result<End, DbError> {
        let store = self.webhooks.store();
        let mut changes = store.notifications().subscribe(topic::webhook(webhook.id));
        let followed = self.webhooks.events.follow(webhook.user);
        let (mut places, mut live) = (followed.places(), followed.live());
        let last = self.webhooks.events.ends(webhook.user).await?.last;
        let filter = self.webhooks.filter(&webhook).await?;
        let mut state = State::new(&webhook, &store.waiting_accounts(&webhook).await?);
        if let Some(counters) = &filter.counters {
            state.leave_out(|counter| counters.contains(&counter));
        }
        let mut delivery = Delivery::new(self, webhook, filter, state, last)?;
        let mut in_progress = InProgress::new();
        let mut live_requests: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        let mut stop_at: Option<Instant> = None;
        loop {
            let mut pause = None;
            if stop_at.is_none() && !delivery.has_changed && !delivery.is_gone {
                match delivery.prepare().await {
                    Ok(None) => delivery.send(&mut in_progress),
                    Ok(Some(end)) => return Ok(end),
                    Err(error) => {
                        tracing::debug!(webhook = %self.lease.webhook, error = chain(&error), "a webhook waits for the database");
                        pause = Some(Instant::now() + RETRY);
                    }
                }
            }
            let is_to_end = stop_at.is_some() || delivery.has_changed || delivery.is_gone;
            let ending = is_to_end && in_progress.is_empty();
            if ending {
                delivery.state.hold_all();
            }
            if ending || delivery.is_to_be_stored() {
                match delivery.store().await {
                    Ok(None) => {}
                    Ok(Some(end)) => return Ok(end),
                    Err(error) if ending => return Err(error),
                    Err(error) => {
                        tracing::debug!(webhook = %self.lease.webhook, error = chain(&error), "a webhook waits for the database");
                        pause = Some(Instant::now() + RETRY);
                    }
                }
                if ending && delivery.is_gone && !delivery.has_changed {
                    delivery.disable("gone").await?;
                    return Ok(End::Lost);
                }
                if ending {
                    return Ok(if stop_at.is_some() { End::Stopped } else { End::Changed });
                }
            }
            let wake = pause.unwrap_or_else(|| delivery.wake_at());
            tokio::select! {
                Some((source, rendered, sent)) = in_progress.next(), if !in_progress.is_empty() => {
                    delivery.take(source, &rendered, &sent);
                }
                Some(()) = live_requests.next(), if !live_requests.is_empty() => {}
                Ok(()) = places.changed(), if pause.is_none() => delivery.reach(*places.borrow_and_update()),
                event = live.recv() => match event {
                    Ok(event) if live_requests.len() < LIVE && delivery.wants(&event) => {
                        live_requests.push(delivery.send_live(&event.json));
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(End::Changed),
                },
                () = changes.woken() => delivery.look_again(),
                () = sleep_until(wake) => {}
                () = self.stop.cancelled(), if stop_at.is_none() => stop_at = Some(Instant::now() + FINISH),
                () = sleep_until(stop_at.unwrap_or_else(Instant::now)), if stop_at.is_some() => in_progress.clear(),
            }
        }
    }
}
