//! A webhook while its worker sends: what is read next, what is sent, and when it is stored.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::{End, InProgress, Worker};
use crate::clock;
use crate::db::DbError;
use crate::domain::CounterId;
use crate::events::{LiveEvent, RenderedEvent, Way, kinds};
use crate::metrics::METRICS;
use crate::secrets;
use crate::store::{EventFilter, Redelivery, SequencedEvent, Webhook};
use crate::webhooks::attempt::{LIVE_TIMEOUT, Sent, TIMEOUT, Target, Verdict};
use crate::webhooks::schedule::{DISABLED_AFTER, FAILING_AFTER};
use crate::webhooks::state::{Source, State};

/// Places that one query looks through.
const WINDOW: i64 = 2_000;
/// Events that are read at once.
const PAGE: usize = 64;
/// What happened is stored after this time at the latest, or when there is so much.
const STORE_AFTER: Duration = Duration::from_millis(100);
const STORE_AT: usize = 64;
/// A place that moved over events that are left out is stored after this time.
const MOVE_AFTER: Duration = Duration::from_secs(10);
/// Nothing is sent when the lease was not looked at for this time.
const LEASE_CHECK: Duration = Duration::from_secs(5);
/// The webhook is read anew this often, if no notification comes.
const POLL: Duration = Duration::from_secs(30);
/// Redeliveries are looked for this often while there are some.
const LOOK: Duration = Duration::from_secs(1);

/// A webhook, as its worker knows it until its owner changes it.
pub(super) struct Delivery<'a> {
    worker: &'a Worker,
    webhook: Webhook,
    target: Target,
    filter: EventFilter,
    /// The live types that it names.
    live: Vec<String>,
    pub state: State,
    /// The last place of the user's sequence.
    last: i64,
    /// When the lease was looked at.
    checked: Option<Instant>,
    /// When redeliveries are looked for.
    look_at: Option<Instant>,
    scanned_at: Instant,
    pub has_changed: bool,
    /// The receiver wants no more events.
    pub is_gone: bool,
    /// When it was looked for what can be sent.
    sent_at: DateTime<Utc>,
}

impl<'a> Delivery<'a> {
    /// `state` was made from what is stored; `last`: the last place of the user's sequence.
    pub fn new(
        worker: &'a Worker,
        webhook: Webhook,
        filter: EventFilter,
        state: State,
        last: i64,
    ) -> Result<Self, DbError> {
        Ok(Self {
            worker,
            target: worker.webhooks.target(&webhook)?,
            live: live_types(&webhook),
            webhook,
            filter,
            state,
            last,
            checked: None,
            look_at: Some(Instant::now()),
            scanned_at: Instant::now(),
            has_changed: false,
            is_gone: false,
            sent_at: clock::now(),
        })
    }

    pub fn reach(&mut self, place: i64) {
        self.last = self.last.max(place);
    }

    /// The webhook may have changed, or have events to send again.
    pub fn look_again(&mut self) {
        (self.checked, self.look_at) = (None, Some(Instant::now()));
    }

    /// Reads and renders what can be sent next.
    pub async fn prepare(&mut self) -> Result<Option<End>, DbError> {
        if let Some(end) = self.check_lease().await? {
            return Ok(Some(end));
        }
        if self.has_changed {
            return Ok(None);
        }
        if let Some(end) = self.check_health().await? {
            return Ok(Some(end));
        }
        self.look_for_redeliveries().await?;
        let now = clock::now();
        if self.must_scan(now) {
            self.scan().await?;
        }
        for (counter, after) in self.state.to_read(now) {
            self.read_account(counter, after).await?;
        }
        let events = self.state.to_render(now);
        if !events.is_empty() {
            let at = Instant::now();
            let (rendered, _) = self.worker.webhooks.events.render(self.webhook.user, &events).await?;
            self.state.set_rendered(rendered, at);
        }
        Ok(None)
    }

    /// Reads the webhook again when that was long ago: the lease may be another process's.
    async fn check_lease(&mut self) -> Result<Option<End>, DbError> {
        let limit = if self.state.is_idle() && self.state.scanned >= self.last { POLL } else { LEASE_CHECK };
        if self.checked.is_some_and(|checked| checked.elapsed() < limit) {
            return Ok(None);
        }
        let now = Instant::now();
        let store = self.worker.webhooks.store();
        let Some(webhook) = store.leased_webhook(&self.worker.lease).await? else {
            return Ok(Some(End::Lost));
        };
        if !store.is_enabled(webhook.user).await? {
            // Everything waits. Somebody else may hold it when the user is enabled again.
            sleep(LEASE_CHECK).await;
            self.has_changed = true;
            return Ok(None);
        }
        self.has_changed = webhook.version != self.webhook.version;
        self.checked = Some(now);
        Ok(None)
    }

    /// Says so when the receiver fails for long.
    async fn check_health(&mut self) -> Result<Option<End>, DbError> {
        let Some(since) = self.state.health.failing_since else { return Ok(None) };
        let (now, store) = (clock::now(), self.worker.webhooks.store());
        if since + DISABLED_AFTER <= now && !self.state.is_idle() {
            self.state.hold_all();
            let end = self.store().await?;
            self.disable("failing").await?;
            return Ok(end.or(Some(End::Lost)));
        }
        if since + FAILING_AFTER <= now && !self.state.health.is_reported {
            if let Some(end) = self.store().await? {
                return Ok(Some(end));
            }
            store.report_failing(&self.worker.lease).await?;
            self.state.health.is_reported = true;
        }
        Ok(None)
    }

    /// Makes the webhook inactive, unless its owner has changed it meanwhile.
    pub async fn disable(&self, reason: &'static str) -> Result<(), DbError> {
        let store = self.worker.webhooks.store();
        store.disable_webhook(&self.worker.lease, self.webhook.version, reason).await?;
        tracing::info!(webhook = %self.webhook.id, reason, "a webhook is disabled");
        Ok(())
    }

    async fn look_for_redeliveries(&mut self) -> Result<(), DbError> {
        if self.look_at.is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        let store = self.worker.webhooks.store();
        let found = store.next_redeliveries(&self.webhook).await?;
        let is_more = !found.is_empty() || store.has_redeliveries(&self.webhook).await?;
        self.look_at = is_more.then(|| Instant::now() + LOOK);
        let mut with_events: Vec<(Redelivery, Option<SequencedEvent>)> = Vec::with_capacity(found.len());
        let now = clock::now();
        for redelivery in found.into_iter().filter(|redelivery| redelivery.retry_at <= now) {
            let event = if redelivery.is_skipped {
                None
            } else {
                store.event_at(self.webhook.user, redelivery.place).await?
            };
            with_events.push((redelivery, event));
        }
        self.state.take_redeliveries(with_events);
        Ok(())
    }

    fn must_scan(&self, now: DateTime<Utc>) -> bool {
        self.state.scanned < self.last && self.state.may_scan(now)
    }

    /// Reads the next new events.
    async fn scan(&mut self) -> Result<(), DbError> {
        if self.webhook.accounts.as_ref().map(Vec::len) > self.filter.counters.as_ref().map(Vec::len) {
            // Of a number that the user did not have before.
            self.filter = self.worker.webhooks.filter(&self.webhook).await?;
        }
        let window = (self.state.scanned, self.last.min(self.state.scanned + WINDOW));
        let (events, until) = self.page(window, &self.filter).await?;
        self.state.scan(events, until);
        self.scanned_at = Instant::now();
        Ok(())
    }

    /// Reads events of an account that is behind.
    async fn read_account(&mut self, counter: CounterId, after: i64) -> Result<(), DbError> {
        let filter = EventFilter { counters: Some(vec![counter]), kinds: self.filter.kinds.clone() };
        let window = (after, self.state.scanned.min(after + WINDOW));
        let (events, until) = self.page(window, &filter).await?;
        self.state.read(counter, events, until);
        Ok(())
    }

    async fn page(
        &self,
        window: (i64, i64),
        filter: &EventFilter,
    ) -> Result<(Vec<SequencedEvent>, i64), DbError> {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let events = self.worker.webhooks.store().sequence(self.webhook.user, window, filter, limit).await?;
        let until = match events.last() {
            Some(last) if events.len() == PAGE => last.place,
            _ => window.1,
        };
        Ok((events, until))
    }

    /// Sends what may be sent.
    pub fn send(&mut self, in_progress: &mut InProgress) {
        let now = clock::now();
        self.sent_at = now;
        if self.has_changed || self.checked.is_none_or(|checked| checked.elapsed() >= LEASE_CHECK) {
            return;
        }
        let dead = self.state.unstored();
        while let Some((source, rendered)) = self.state.next(now) {
            let (sender, target) = (self.worker.webhooks.sender.clone(), self.target.clone());
            in_progress.push(Box::pin(async move {
                let body = rendered.json.to_string();
                let sent = sender.send_fairly(&target, &rendered.id, body, TIMEOUT).await;
                (source, rendered, sent)
            }));
        }
        METRICS.webhook_dead(self.state.unstored() - dead);
    }

    /// Takes what came of a request.
    pub fn take(&mut self, source: Source, rendered: &RenderedEvent, sent: &Sent) {
        self.state.take(source, rendered, sent, clock::now());
        match sent.verdict {
            Verdict::Accepted => {
                self.worker.webhooks.events.count(Way::Webhook, std::slice::from_ref(rendered), true);
            }
            // Of the requests in progress some may still be accepted.
            Verdict::Gone => self.is_gone = true,
            _ => {}
        }
    }

    pub fn is_to_be_stored(&self) -> bool {
        let is_late = self.state.unstored_since().is_some_and(|since| since.elapsed() >= STORE_AFTER);
        let has_moved = self.state.has_moved() && self.scanned_at.elapsed() >= MOVE_AFTER;
        is_late || has_moved || self.state.unstored() >= STORE_AT || self.state.has_redelivered()
    }

    /// Stores what happened.
    pub async fn store(&mut self) -> Result<Option<End>, DbError> {
        if self.state.unstored_since().is_none() && !self.state.has_moved() {
            return Ok(None);
        }
        let store = self.worker.webhooks.store();
        let version = store.store_progress(&self.worker.lease, self.state.progress()).await?;
        let Some(version) = version else { return Ok(Some(End::Lost)) };
        if self.state.has_redelivered() {
            // The next ones can be found now.
            self.look_at = Some(Instant::now());
        }
        self.state.stored();
        self.checked = Some(Instant::now());
        self.has_changed |= version != self.webhook.version;
        Ok(None)
    }

    /// When to go on if nothing happens.
    pub fn wake_at(&self) -> Instant {
        let (now, instant) = (clock::now(), Instant::now());
        let at = |time: DateTime<Utc>| instant + (time - now).to_std().unwrap_or_default();
        if !self.has_changed && (self.must_scan(now) || self.state.must_read(now)) {
            return instant;
        }
        let mut next = instant + POLL;
        let unreported = self.state.health.failing_since.filter(|_| !self.state.health.is_reported);
        let times = [self.state.next_due(self.sent_at), unreported.map(|since| since + FAILING_AFTER)];
        for time in times.into_iter().flatten() {
            next = next.min(at(time));
        }
        if let Some(since) = self.state.unstored_since() {
            next = next.min(since + STORE_AFTER);
        } else if self.state.has_moved() {
            next = next.min(self.scanned_at + MOVE_AFTER);
        }
        self.look_at.map_or(next, |at| next.min(at))
    }

    pub fn wants(&self, event: &LiveEvent) -> bool {
        self.live.iter().any(|kind| kind == event.kind)
            && self.filter.takes(event.counter, event.kind)
            && self.state.health.retry_at.is_none()
    }

    /// One try, which is not listed.
    pub fn send_live(&self, json: &str) -> BoxFuture<'static, ()> {
        let (sender, target) = (self.worker.webhooks.sender.clone(), self.target.clone());
        let (id, body) = (format!("live-{}", secrets::random_id()), json.to_owned());
        Box::pin(async move {
            sender.send_fairly(&target, &id, body, LIVE_TIMEOUT).await;
        })
    }
}

/// The live types that a webhook names; a group does not name them.
fn live_types(webhook: &Webhook) -> Vec<String> {
    let named = webhook.types.iter().flatten();
    named.filter(|kind| kinds::is_live(kind)).cloned().collect()
}
