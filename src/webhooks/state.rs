//! What a process knows of a webhook while it sends: the events that wait, and what is not stored yet.
//!
//! The webhook's place stands before the first event that waits. An account whose events wait long, because one failed or
//! because there are many, falls behind: it gets a place of its own, and the others go on.

mod outcome;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::queue::{Queue, Waiting};
use super::schedule::LIFETIME;
use crate::domain::{CounterId, Event};
use crate::events::RenderedEvent;
use crate::store::{DeadEvent, Health, Redelivery, SequencedEvent, WaitingAccount, Webhook, WebhookProgress};

/// Requests of a webhook at the same time, each of another account.
const IN_PROGRESS: usize = 8;
/// Events of a webhook in memory.
const ROOM: usize = 256;
/// Of an account that is behind, more are read when fewer are left.
const FEW: usize = 8;
/// Events that are rendered together.
const RENDERED_AT_ONCE: usize = 20;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Account(CounterId),
    Redelivery(i64),
}

struct Beside {
    redelivery: Redelivery,
    event: Waiting,
    in_progress: bool,
}

pub struct State {
    /// Everything up to this place was read.
    pub scanned: i64,
    version: i64,
    skips: i64,
    queues: BTreeMap<CounterId, Queue>,
    beside: HashMap<i64, Beside>,
    pub health: Health,
    /// What is not stored yet.
    progress: WebhookProgress,
    /// Since when something is not.
    unstored_since: Option<Instant>,
    stored_place: i64,
    in_progress: usize,
}

impl State {
    pub fn new(webhook: &Webhook, accounts: &[WaitingAccount]) -> Self {
        Self {
            scanned: webhook.place,
            version: webhook.version,
            skips: webhook.skips,
            queues: accounts
                .iter()
                .map(|account| (account.counter, Queue::stored(account.progress)))
                .collect(),
            beside: HashMap::new(),
            health: webhook.health.clone(),
            progress: WebhookProgress::default(),
            unstored_since: None,
            stored_place: webhook.place,
            in_progress: 0,
        }
    }

    fn events(&self) -> usize {
        self.queues.values().map(|queue| queue.events.len()).sum()
    }

    /// Whether more new events should be read: there is room, or other accounts may have some that can be sent.
    pub fn may_scan(&self, now: DateTime<Utc>) -> bool {
        let is_away = self.health.retry_at.is_some_and(|at| at > now);
        self.events() < ROOM || (!is_away && self.ready(now).len() + self.in_progress < IN_PROGRESS)
    }

    /// Lets every account with waiting events fall behind: what was accepted of the others is not sent again by who goes on.
    pub fn hold_all(&mut self) {
        for queue in self.queues.values_mut().filter(|queue| !queue.events.is_empty()) {
            queue.hold(1);
            self.unstored_since.get_or_insert_with(Instant::now);
        }
    }

    /// Takes the events up to a place.
    pub fn scan(&mut self, events: Vec<SequencedEvent>, until: i64) {
        for event in events.into_iter().filter(|event| event.kind != Event::WEBHOOK_TEST) {
            self.queues.entry(event.counter).or_insert_with(Queue::new).push(event);
        }
        self.scanned = until;
        while self.events() > ROOM {
            let longest = self.queues.values_mut().max_by_key(|queue| queue.events.len());
            let Some(longest) = longest.filter(|queue| queue.events.len() > 1) else { break };
            longest.hold(longest.events.len() / 2);
            self.note();
        }
    }

    /// The accounts that are behind and of which more events should be read, with the place after which.
    pub fn to_read(&self, now: DateTime<Utc>) -> Vec<(CounterId, i64)> {
        let due = |queue: &Queue| queue.retry_at.is_none_or(|at| at <= now);
        let few = self.queues.iter().filter(|(_, queue)| queue.events.len() < FEW && due(queue));
        let mut unread: Vec<(CounterId, i64)> =
            few.filter_map(|(counter, queue)| Some((*counter, queue.unread_after?))).collect();
        unread.sort_unstable_by_key(|(_, place)| *place);
        unread.truncate(IN_PROGRESS);
        unread
    }

    /// Whether an account has nothing in memory, but something to read at once.
    pub fn must_read(&self, now: DateTime<Utc>) -> bool {
        self.to_read(now)
            .iter()
            .any(|(counter, _)| self.queues.get(counter).is_some_and(|queue| queue.events.is_empty()))
    }

    /// Takes events of an account that is behind, up to a place.
    pub fn read(&mut self, counter: CounterId, events: Vec<SequencedEvent>, until: i64) {
        let Some(queue) = self.queues.get_mut(&counter) else { return };
        let events = events.into_iter().filter(|event| event.kind != Event::WEBHOOK_TEST);
        queue.events.extend(events.map(Waiting::new));
        queue.unread_after = (until < self.scanned).then_some(until);
        queue.has_changed = true;
        self.tidy(counter);
    }

    /// The redeliveries that are next, each with its event; those without one are over: the event was deleted, or
    /// skipped.
    pub fn take_redeliveries(&mut self, found: Vec<(Redelivery, Option<SequencedEvent>)>) {
        self.beside.retain(|_, beside| beside.in_progress);
        for (redelivery, event) in found {
            match event {
                _ if self.progress.redelivered.contains(&redelivery.id)
                    || self.progress.retried.iter().any(|retried| retried.id == redelivery.id) => {}
                Some(event) => {
                    let id = redelivery.id;
                    let beside = Beside { redelivery, event: Waiting::new(event), in_progress: false };
                    self.beside.entry(id).or_insert(beside);
                }
                None => {
                    self.progress.redelivered.push(redelivery.id);
                    self.note();
                }
            }
        }
    }

    /// Events that may be sent next, the oldest first.
    fn ready(&self, now: DateTime<Utc>) -> Vec<(i64, Source)> {
        let is_due = |at: Option<DateTime<Utc>>| at.is_none_or(|at| at <= now);
        let accounts = self.queues.iter().filter_map(|(counter, queue)| {
            let first = queue.events.front()?;
            let ready = !queue.in_progress && is_due(queue.retry_at);
            ready.then_some((first.event.place, Source::Account(*counter)))
        });
        let beside = self.beside.values().filter_map(|beside| {
            let ready = !beside.in_progress && is_due(Some(beside.redelivery.retry_at));
            ready.then_some((beside.redelivery.place, Source::Redelivery(beside.redelivery.id)))
        });
        let mut ready: Vec<_> = accounts.chain(beside).collect();
        ready.sort_unstable_by_key(|(place, _)| *place);
        ready
    }

    /// Whether the receiver may get an event now: while it fails one at a time.
    fn may_send(&self, now: DateTime<Utc>) -> bool {
        match self.health.retry_at {
            Some(at) => at <= now && self.in_progress == 0,
            None => self.in_progress < IN_PROGRESS,
        }
    }

    /// The events that should be rendered before the next ones are sent.
    pub fn to_render(&self, now: DateTime<Utc>) -> Vec<SequencedEvent> {
        if !self.may_send(now) {
            return Vec::new();
        }
        let ready = self.ready(now);
        let mut events: Vec<&Waiting> = Vec::new();
        let mut is_needed = false;
        for (_, source) in ready.iter().take(IN_PROGRESS) {
            let first = match source {
                Source::Account(counter) => self.queues[counter].events.front(),
                Source::Redelivery(id) => self.beside.get(id).map(|beside| &beside.event),
            };
            let stale = first.filter(|first| first.fresh().is_none());
            is_needed |= stale.is_some();
            events.extend(stale);
        }
        if !is_needed {
            return Vec::new();
        }
        // The next ones of the same accounts share the queries.
        for (_, source) in ready.iter().take(IN_PROGRESS) {
            if let Source::Account(counter) = source {
                let next = self.queues[counter].events.iter().skip(1);
                events.extend(next.filter(|event| event.fresh().is_none()).take(RENDERED_AT_ONCE));
            }
        }
        events.truncate(RENDERED_AT_ONCE);
        events.into_iter().map(|waiting| waiting.event.clone()).collect()
    }

    pub fn set_rendered(&mut self, rendered: Vec<RenderedEvent>, at: Instant) {
        for rendered in rendered {
            let in_queue = self.queues.get_mut(&rendered.counter).and_then(|queue| {
                queue.events.iter_mut().find(|waiting| waiting.event.place == rendered.place)
            });
            for beside in self.beside.values_mut() {
                if beside.event.event.place == rendered.place {
                    beside.event.set_rendered(rendered.clone(), at);
                }
            }
            if let Some(waiting) = in_queue {
                waiting.set_rendered(rendered, at);
            }
        }
    }

    /// The next event to send; it counts as in progress from now on. Events that are too old are given up.
    pub fn next(&mut self, now: DateTime<Utc>) -> Option<(Source, RenderedEvent)> {
        if !self.may_send(now) {
            return None;
        }
        for (_, source) in self.ready(now) {
            match source {
                Source::Account(counter) => {
                    let Some(queue) = self.queues.get_mut(&counter) else { continue };
                    let Some(first) = queue.events.front() else { continue };
                    let Some(rendered) = first.fresh().cloned() else { continue };
                    if first.event.at + LIFETIME < now {
                        let dead = dead(&first.event, &rendered, now, queue.attempts);
                        queue.pop();
                        self.progress.dead.push(dead);
                        self.note();
                        self.tidy(counter);
                        continue;
                    }
                    queue.in_progress = true;
                    self.in_progress += 1;
                    return Some((source, rendered));
                }
                Source::Redelivery(id) => {
                    let Some(beside) = self.beside.get_mut(&id) else { continue };
                    let Some(rendered) = beside.event.fresh().cloned() else { continue };
                    if beside.redelivery.expires_at < now {
                        let dead = dead(&beside.event.event, &rendered, now, beside.redelivery.attempts);
                        self.beside.remove(&id);
                        self.progress.dead.push(dead);
                        self.progress.redelivered.push(id);
                        self.note();
                        continue;
                    }
                    beside.in_progress = true;
                    self.in_progress += 1;
                    return Some((source, rendered));
                }
            }
        }
        None
    }

    /// Forgets an account of which nothing waits.
    fn tidy(&mut self, counter: CounterId) {
        if self.queues.get(&counter).is_some_and(Queue::is_done)
            && let Some(queue) = self.queues.remove(&counter)
            && queue.is_behind
        {
            self.progress.caught_up.push(counter);
            self.note();
        }
    }

    fn note(&mut self) {
        self.unstored_since.get_or_insert_with(Instant::now);
    }

    /// Leaves an account out, because the webhook does not want its events any more.
    pub fn leave_out(&mut self, is_wanted: impl Fn(CounterId) -> bool) {
        let unwanted: Vec<CounterId> =
            self.queues.keys().copied().filter(|counter| !is_wanted(*counter)).collect();
        for counter in unwanted {
            self.queues.remove(&counter);
            self.progress.caught_up.push(counter);
            self.note();
        }
    }

    /// The place before the first event that waits, of accounts that are not behind.
    fn place(&self) -> i64 {
        let waiting = self.queues.values().filter(|queue| !queue.is_behind);
        let first = waiting.filter_map(|queue| queue.events.front()).map(|first| first.event.place - 1).min();
        first.unwrap_or(self.scanned)
    }

    /// Since when something is not stored; a place that moved over what is left out may wait.
    pub fn unstored_since(&self) -> Option<Instant> {
        self.unstored_since
    }

    /// Whether the place moved.
    pub fn has_moved(&self) -> bool {
        self.place() > self.stored_place
    }

    /// How much is not stored.
    pub fn unstored(&self) -> usize {
        self.progress.attempts.len() + self.progress.dead.len()
    }

    /// Whether the next redeliveries are found only when this is stored.
    pub fn has_redelivered(&self) -> bool {
        !self.progress.redelivered.is_empty() || !self.progress.retried.is_empty()
    }

    /// What is not stored yet; after [`Self::stored`] it is.
    pub fn progress(&mut self) -> &WebhookProgress {
        let waiting = self.queues.iter().filter(|(_, queue)| queue.is_behind && queue.has_changed);
        let waiting = waiting.map(|(counter, queue)| queue.progress(*counter, self.scanned)).collect();
        let place = self.place();
        self.progress.version = self.version;
        self.progress.skips = self.skips;
        self.progress.place = place;
        self.progress.health = self.health.clone();
        self.progress.waiting = waiting;
        &self.progress
    }

    /// The progress was stored.
    pub fn stored(&mut self) {
        self.stored_place = self.progress.place;
        self.progress = WebhookProgress::default();
        self.unstored_since = None;
        for queue in self.queues.values_mut().filter(|queue| queue.is_behind) {
            queue.has_changed = false;
        }
    }

    /// Nothing waits for the receiver.
    pub fn is_idle(&self) -> bool {
        self.queues.is_empty() && self.beside.is_empty()
    }

    /// The next time after `now` at which something becomes due.
    pub fn next_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let accounts = self.queues.values().filter(|queue| !queue.in_progress);
        let accounts = accounts.filter_map(|queue| queue.retry_at);
        let beside = self.beside.values().filter(|beside| !beside.in_progress);
        let beside = beside.map(|beside| beside.redelivery.retry_at);
        accounts.chain(beside).chain(self.health.retry_at).filter(|at| *at > now).min()
    }
}

fn dead(event: &SequencedEvent, rendered: &RenderedEvent, now: DateTime<Utc>, attempts: i32) -> DeadEvent {
    DeadEvent {
        counter: event.counter,
        place: event.place,
        event_id: rendered.id.clone(),
        kind: rendered.kind.clone(),
        account: rendered.account.clone(),
        seq: event.seq,
        stored: event.at,
        died: now,
        attempts,
        // Those of the last attempt are looked up when it is stored.
        status: None,
        error: None,
    }
}
