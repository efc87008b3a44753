//! Publishes the events of all users over one connection: several users at the same time, each account's events in order.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use super::LeaseClock;
use super::error::{BrokerError, PublishFailure};
use super::memory::Memory;
use super::message::{small, subject};
use super::nats::Nats;
use crate::clock;
use crate::db::{Collected, DbError};
use crate::domain::UserId;
use crate::events::numbering::{JournalUsers, number_grown};
use crate::events::{EventPage, Events, PageLimit, PositionError, RenderedEvent, Way};
use crate::store::{BrokerLease, EventFilter, topic};
use crate::telemetry::chain;

/// Users whose events are published at the same time.
const USERS: usize = 8;
/// Users of whom events were refused and who wait, each for itself; with more of them the broker is the trouble.
const REFUSED: usize = 100;
/// Readings at the same time, half of what renders at once in a process: streams must not wait for a long backlog.
const READINGS: usize = 2;
/// Events of a page; the position is stored after each.
const PAGE: PageLimit = PageLimit { events: 100, bytes: 1024 * 1024 };
/// Users whose positions are read together.
const POSITIONS: i64 = 1_000;

/// The least time between two rounds of looking for events: those that come meanwhile share the next one.
const ROUND: Duration = Duration::from_millis(10);
/// How often events are looked for whose notification was lost.
const POLL: Duration = Duration::from_secs(5);
/// Longer than most transactions that write events take, and the half minute by which a journal's time lags. What takes
/// longer is numbered once a minute.
const OVERLAP: TimeDelta = TimeDelta::minutes(1);
/// The pause after an error of the database.
const RETRY: Duration = Duration::from_millis(300);

/// The publisher of one connection.
pub struct Publisher<'a> {
    events: &'a Events,
    nats: &'a Nats,
    lease: BrokerLease,
    clock: &'a LeaseClock,
    memory: &'a Memory,
    readings: Semaphore,
    waiting: Waiting,
    has_published: AtomicBool,
}

/// Why a page of a user was not published.
enum Failure {
    Store(DbError),
    /// One of its events was refused.
    Event(BrokerError),
    Broker(BrokerError),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Store(error)
    }
}

/// The users who may have events to publish, each once.
#[derive(Default)]
struct Waiting {
    queue: Mutex<Queue>,
    notify: Notify,
}

#[derive(Default)]
struct Queue {
    order: VecDeque<UserId>,
    users: HashSet<UserId>,
}

impl<'a> Publisher<'a> {
    pub fn new(
        events: &'a Events,
        nats: &'a Nats,
        lease: BrokerLease,
        clock: &'a LeaseClock,
        memory: &'a Memory,
    ) -> Self {
        Self {
            events,
            nats,
            lease,
            clock,
            memory,
            readings: Semaphore::new(READINGS),
            waiting: Waiting::default(),
            has_published: AtomicBool::new(false),
        }
    }

    /// Whether the broker has acknowledged anything.
    pub fn has_published(&self) -> bool {
        self.has_published.load(Ordering::Relaxed)
    }

    /// Publishes whatever comes, until the broker fails.
    pub async fn run(&self) -> BrokerError {
        tokio::select! {
            error = self.publish() => error,
            error = self.nats.ended() => error,
            never = self.find() => match never {},
        }
    }

    /// Finds the users who have new events.
    async fn find(&self) -> Infallible {
        let store = self.events.store();
        let grown = store.notifications().collect(topic::JOURNALS);
        let (mut users, mut next_poll) = (JournalUsers::default(), Instant::now());
        loop {
            let collected = tokio::select! {
                collected = grown.next() => collected,
                () = sleep_until(next_poll) => Collected { is_partial: true, ..Collected::default() },
            };
            let began = clock::now();
            let found = async {
                for (_, user) in users.find(store, &collected.rows).await? {
                    self.waiting.add(user);
                }
                if collected.is_partial {
                    let since = *self.memory.numbered.lock().unwrap_or_else(PoisonError::into_inner);
                    number_grown(self.events, since).await?;
                    *self.memory.numbered.lock().unwrap_or_else(PoisonError::into_inner) = began - OVERLAP;
                    self.find_unpublished().await?;
                }
                Ok::<_, DbError>(())
            };
            match found.await {
                Ok(()) if collected.is_partial => next_poll = Instant::now() + POLL,
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(
                        error = chain(&error),
                        "events to publish were not looked for; trying again"
                    );
                    next_poll = Instant::now();
                    sleep(RETRY).await;
                }
            }
            sleep(ROUND).await;
        }
    }

    async fn find_unpublished(&self) -> Result<(), DbError> {
        let mut after = None;
        loop {
            let users = self.events.store().unpublished(after, POSITIONS).await?;
            let Some((last, _)) = users.last() else { return Ok(()) };
            after = Some(*last);
            for (user, is_behind) in users {
                if is_behind {
                    self.waiting.add(user);
                }
            }
        }
    }

    /// Publishes the pages of the waiting users, each user's one after the other.
    async fn publish(&self) -> BrokerError {
        let (mut busy, mut pages, mut pauses) =
            (HashSet::new(), FuturesUnordered::new(), FuturesUnordered::new());
        let mut reported = HashSet::new();
        loop {
            while pages.len() < USERS
                && let Some(user) = self.waiting.take(&busy)
            {
                busy.insert(user);
                pages.push(async move { (user, self.publish_page(user).await) });
            }
            tokio::select! {
                Some((user, outcome)) = pages.next() => {
                    busy.remove(&user);
                    match outcome {
                        Ok(has_more) => {
                            self.memory.taken(user);
                            if has_more {
                                self.waiting.add(user);
                            }
                        }
                        Err(Failure::Event(error)) if pauses.len() >= REFUSED => return error,
                        Err(Failure::Event(error)) => {
                            busy.insert(user);
                            let pause = self.memory.refused(user, &error);
                            pauses.push(async move {
                                sleep(pause).await;
                                user
                            });
                        }
                        Err(Failure::Broker(error)) => return error,
                        // The next poll finds the user again.
                        Err(Failure::Store(error)) => {
                            let is_new = !matches!(error, DbError::Unavailable(_)) && reported.insert(user);
                            if is_new {
                                tracing::error!(error = chain(&error), "events of a user cannot be published");
                            }
                        }
                    }
                }
                Some(user) = pauses.next() => {
                    busy.remove(&user);
                    self.waiting.add(user);
                }
                () = self.waiting.notify.notified() => {}
            }
        }
    }

    /// Publishes the next events of a user, and stores the position. Returns whether there may be more.
    async fn publish_page(&self, user: UserId) -> Result<bool, Failure> {
        let store = self.events.store();
        let Some((user_name, page)) = self.read(user).await? else { return Ok(false) };
        let page = match page {
            Ok(page) => page,
            Err(oldest) => {
                tracing::error!(
                    user = user_name,
                    "events were deleted because of their age before the broker took them"
                );
                store.advance_broker(self.lease, user, oldest).await?;
                return Ok(true);
            }
        };
        let accounts = self.memory.unacknowledged(&page.events);
        let published =
            join_all(accounts.into_values().map(|events| self.publish_in_order(&user_name, events))).await;
        let failures = published.into_iter().filter_map(Result::err);
        if let Some(failure) = failures.max_by_key(|failure| matches!(failure, Failure::Broker(_))) {
            return Err(failure);
        }
        self.has_published.store(true, Ordering::Relaxed);
        self.events.count(Way::Broker, &page.events, !page.more);
        loop {
            match store.advance_broker(self.lease, user, page.until).await {
                Ok(advanced) => {
                    self.memory.stored(&page.events);
                    return Ok(advanced && page.more);
                }
                // Whatever is read again would be published again.
                Err(DbError::Unavailable(_)) => sleep(RETRY).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The name of a user and the events after the position; `Err`: they were deleted up to this place. `None`: there is no
    /// such user, or there are no more events.
    async fn read(&self, user: UserId) -> Result<Option<(String, Result<EventPage, i64>)>, DbError> {
        let _permit = self.readings.acquire().await;
        let ends = self.events.ends(user).await?;
        let Some(position) = self.events.store().broker_position(user).await? else { return Ok(None) };
        let after = position.place.unwrap_or(ends.pruned);
        if after >= ends.last {
            return Ok(None);
        }
        let page = match self.events.read(user, (after, ends.last), &EventFilter::default(), PAGE).await {
            Ok(page) => Ok(page),
            Err(PositionError::Gone(gone)) => Err(gone.oldest.place),
            Err(PositionError::Store(error)) => return Err(error),
        };
        Ok(Some((position.user_name, page)))
    }

    /// Publishes events of one account, each when the one before it was acknowledged.
    async fn publish_in_order(&self, user_name: &str, events: Vec<&RenderedEvent>) -> Result<(), Failure> {
        for event in events {
            self.clock.is_valid().await;
            let subject = subject(user_name, event);
            let object = Bytes::copy_from_slice(event.json.as_bytes());
            let published = match self.nats.publish(subject.clone(), &event.id, object).await {
                Err(PublishFailure::TooLarge) => {
                    self.memory.too_large(event);
                    let object = Bytes::from(small(&event.json).unwrap_or_default());
                    self.nats.publish(subject, &event.id, object).await
                }
                published => published,
            };
            match published {
                Ok(()) => self.memory.acknowledged(event),
                Err(PublishFailure::Broker(error)) => return Err(Failure::Broker(error)),
                Err(PublishFailure::Event(error)) => return Err(Failure::Event(error)),
                Err(PublishFailure::TooLarge) => {
                    let problem = "even the facts of an event are too large".to_owned();
                    return Err(Failure::Event(self.nats.refused(problem)));
                }
            }
        }
        Ok(())
    }
}

impl Waiting {
    fn add(&self, user: UserId) {
        let mut queue = self.lock();
        if queue.users.insert(user) {
            queue.order.push_back(user);
            self.notify.notify_one();
        }
    }

    /// The first user who is not busy.
    fn take(&self, busy: &HashSet<UserId>) -> Option<UserId> {
        let mut queue = self.lock();
        let position = queue.order.iter().position(|user| !busy.contains(user))?;
        let user = queue.order.remove(position)?;
        queue.users.remove(&user);
        Some(user)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_waits_once_and_not_for_one_who_is_busy() {
        let waiting = Waiting::default();
        for user in [1, 2, 1, 3] {
            waiting.add(UserId(user));
        }
        let busy = HashSet::from([UserId(1)]);
        assert_eq!(waiting.take(&busy), Some(UserId(2)));
        assert_eq!(waiting.take(&HashSet::new()), Some(UserId(1)));
        assert_eq!((waiting.take(&busy), waiting.take(&busy)), (Some(UserId(3)), None));
        waiting.add(UserId(1));
        assert_eq!((waiting.take(&busy), waiting.take(&HashSet::new())), (None, Some(UserId(1))));
    }
}
