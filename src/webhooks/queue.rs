//! The events of one account that wait for a webhook.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::domain::CounterId;
use crate::events::RenderedEvent;
use crate::store::{AccountProgress, SequencedEvent, WaitingAccount};

/// A rendered event is rendered again after this time: texts may be deleted meanwhile, and URLs expire.
const FRESH: Duration = Duration::from_secs(5);
/// Events of an account in memory; the rest is read again when these are done.
const LONGEST: usize = 64;

/// An event in memory.
pub struct Waiting {
    pub event: SequencedEvent,
    rendered: Option<(RenderedEvent, Instant)>,
}

impl Waiting {
    pub fn new(event: SequencedEvent) -> Self {
        Self { event, rendered: None }
    }

    pub fn set_rendered(&mut self, rendered: RenderedEvent, at: Instant) {
        self.rendered = Some((rendered, at));
    }

    /// The event as it may be sent now.
    pub fn fresh(&self) -> Option<&RenderedEvent> {
        let (rendered, at) = self.rendered.as_ref()?;
        (at.elapsed() < FRESH).then_some(rendered)
    }
}

/// The events of an account, sent one after the other.
pub struct Queue {
    /// The first one is next, or in progress.
    pub events: VecDeque<Waiting>,
    /// The store has this account's own place, because its events wait behind those of others.
    pub is_behind: bool,
    /// Up to this place events were read, if some after it are still to be read.
    pub unread_after: Option<i64>,
    pub in_progress: bool,
    /// Of the first event.
    pub attempts: i32,
    pub refusals: i32,
    pub retry_at: Option<DateTime<Utc>>,
    /// It differs from what is stored.
    pub has_changed: bool,
    /// The number of the last event that is done.
    seq: i64,
}

impl Queue {
    /// An account that is not behind.
    pub fn new() -> Self {
        Self {
            events: VecDeque::new(),
            is_behind: false,
            unread_after: None,
            in_progress: false,
            attempts: 0,
            refusals: 0,
            retry_at: None,
            has_changed: false,
            seq: 0,
        }
    }

    /// An account that was behind when its progress was stored.
    pub fn stored(progress: AccountProgress) -> Self {
        Self {
            is_behind: true,
            unread_after: Some(progress.place),
            attempts: progress.attempts,
            refusals: progress.refusals,
            retry_at: progress.retry_at,
            seq: progress.seq,
            ..Self::new()
        }
    }

    /// Takes a new event, or notes that it is to be read later.
    pub fn push(&mut self, event: SequencedEvent) {
        if self.unread_after.is_some() {
            return;
        }
        if self.events.len() >= LONGEST || self.retry_at.is_some() {
            self.unread_after = self.events.back().map(|last| last.event.place);
            self.fall_behind();
        } else {
            self.events.push_back(Waiting::new(event));
        }
    }

    /// The account waits, so that others need not: only its first `rest` events, one at least, stay in memory.
    pub fn hold(&mut self, rest: usize) {
        if self.events.len() > rest.max(1) {
            self.events.truncate(rest.max(1));
            self.unread_after = self.events.back().map(|last| last.event.place);
        }
        self.fall_behind();
    }

    fn fall_behind(&mut self) {
        self.is_behind = true;
        self.has_changed = true;
    }

    /// The first event is done.
    pub fn pop(&mut self) {
        if let Some(done) = self.events.pop_front() {
            self.seq = done.event.seq;
        }
        (self.attempts, self.refusals, self.retry_at) = (0, 0, None);
        self.has_changed = true;
    }

    /// Nothing waits.
    pub fn is_done(&self) -> bool {
        self.events.is_empty() && self.unread_after.is_none() && !self.in_progress
    }

    /// What the store needs, when everything up to `scanned` was read.
    pub fn progress(&self, counter: CounterId, scanned: i64) -> WaitingAccount {
        let first = self.events.front().map(|first| first.event.place - 1);
        let progress = AccountProgress {
            place: first.or(self.unread_after).unwrap_or(scanned),
            seq: self.events.front().map_or(self.seq, |first| first.event.seq - 1),
            attempts: self.attempts,
            refusals: self.refusals,
            retry_at: self.retry_at,
        };
        WaitingAccount { counter, progress }
    }
}
