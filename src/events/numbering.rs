//! Numbers the sequences of users: those that somebody follows at once, when a notification says that a journal has grown,
//! and all others once a minute. What a lost notification would have said is found by polling.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, sleep};

use super::{Events, Followed};
use crate::clock;
use crate::db::{Collected, DbError};
use crate::domain::{CounterId, UserId};
use crate::lifecycle::Lifecycle;
use crate::secrets;
use crate::store::{Store, topic};
use crate::telemetry::chain;

/// The least time between two rounds: events that come meanwhile share the next one.
const ROUND: Duration = Duration::from_millis(10);
/// How often followed sequences are looked at without a notification.
const POLL: Duration = Duration::from_millis(300);
/// How often a followed sequence notes how far it was looked at, so that the next look need not begin as early.
const NOTE: Duration = Duration::from_mins(1);
/// The pause after an error.
const RETRY: Duration = Duration::from_millis(300);
/// The pause between two rounds as a multiple of the last one's time: many events make rounds rarer, not the sends slower.
const REST: u32 = 6;
/// A single round that took long does not delay what comes after it by more than this.
const LONGEST_REST: Duration = Duration::from_millis(25);
/// Journals that one transaction numbers.
const TOGETHER: usize = 100;
/// Users of journals that are remembered.
const REMEMBERED: usize = 200_000;

/// How often all sequences are numbered, plus or minus a quarter.
const SWEEP: Duration = Duration::from_mins(1);
/// Journals that are looked at together.
const JOURNALS: i64 = 100;
/// Longer than a transaction that writes events takes, and longer than clocks differ.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);

pub(super) fn start(events: &Events, lifecycle: &Lifecycle) {
    for task in [Task::Follow, Task::Sweep] {
        let (events, soft) = (events.clone(), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            let work = async {
                match task {
                    Task::Follow => Follower::new(events).run().await,
                    Task::Sweep => sweep(&events).await,
                }
            };
            soft.run_until_cancelled(work).await;
        });
    }
}

enum Task {
    Follow,
    Sweep,
}

type FollowedUsers = HashMap<UserId, Arc<Followed>>;

/// Numbers the sequences that somebody follows.
struct Follower {
    events: Events,
    users: JournalUsers,
    noted: HashMap<UserId, Instant>,
}

impl Follower {
    fn new(events: Events) -> Self {
        Self { events, users: JournalUsers::default(), noted: HashMap::new() }
    }

    async fn run(mut self) {
        let grown = self.events.store().notifications().collect(topic::JOURNALS);
        let mut next_poll = Instant::now();
        loop {
            let collected = tokio::select! {
                collected = grown.next() => collected,
                () = tokio::time::sleep_until(next_poll) => Collected { is_partial: true, ..Collected::default() },
            };
            let (is_poll, began) = (collected.is_partial, Instant::now());
            if let Err(error) = self.round(collected).await {
                tracing::debug!(error = chain(&error), "events were not numbered; trying again");
                // Whatever was collected is found by the poll.
                next_poll = Instant::now();
                sleep(RETRY).await;
                continue;
            }
            if is_poll {
                next_poll = Instant::now() + POLL;
            }
            sleep((began.elapsed() * REST).clamp(ROUND, LONGEST_REST)).await;
        }
    }

    async fn round(&mut self, collected: Collected) -> Result<(), DbError> {
        let followed: FollowedUsers =
            self.events.followed().into_iter().map(|followed| (followed.user, followed)).collect();
        self.noted.retain(|user, _| followed.contains_key(user));
        if followed.is_empty() {
            return Ok(());
        }
        let mut grown = self.users.find(self.events.store(), &collected.rows).await?;
        grown.retain(|(_, user)| followed.contains_key(user));
        let users: HashSet<UserId> = grown.iter().map(|(_, user)| *user).collect();
        let now = Instant::now();
        for user in users {
            let noted = self.noted.entry(user).or_insert(now);
            if now - *noted > NOTE {
                *noted = now;
                self.number(&followed, user).await?;
                grown.retain(|(_, of)| *of != user);
            }
        }
        for journals in grown.chunks(TOGETHER) {
            for (user, last) in self.events.store().number_journals(journals).await? {
                reached(&followed, user, last);
            }
        }
        if collected.is_partial {
            self.poll(&followed).await?;
        }
        Ok(())
    }

    /// What another process has numbered, and what none has.
    async fn poll(&self, followed: &FollowedUsers) -> Result<(), DbError> {
        let users: Vec<UserId> = followed.keys().copied().collect();
        for progress in self.events.store().progress(&users).await? {
            reached(followed, progress.user, progress.ends.last);
            if progress.is_behind {
                self.number(followed, progress.user).await?;
            }
        }
        Ok(())
    }

    /// Numbers all that a user's journals have.
    async fn number(&self, followed: &FollowedUsers, user: UserId) -> Result<(), DbError> {
        if let Some(last) = self.events.store().number_events(user, None).await? {
            reached(followed, user, last);
        }
        Ok(())
    }
}

fn reached(followed: &FollowedUsers, user: UserId, last: i64) {
    if let Some(followed) = followed.get(&user) {
        followed.reached(last);
    }
}

/// The users of journals, as far as they were asked for.
#[derive(Default)]
pub(super) struct JournalUsers(HashMap<CounterId, UserId>);

impl JournalUsers {
    /// The users of the journals whose ids these are; those of deleted users are left out.
    pub async fn find(
        &mut self,
        store: &Store,
        journals: &HashSet<i64>,
    ) -> Result<Vec<(CounterId, UserId)>, DbError> {
        let unknown: Vec<CounterId> = journals
            .iter()
            .map(|journal| CounterId(*journal))
            .filter(|counter| !self.0.contains_key(counter))
            .collect();
        if !unknown.is_empty() {
            if self.0.len() + unknown.len() > REMEMBERED {
                self.0.clear();
            }
            self.0.extend(store.users_of_journals(&unknown).await?);
        }
        let known = |journal: &i64| Some((CounterId(*journal), *self.0.get(&CounterId(*journal))?));
        Ok(journals.iter().filter_map(known).collect())
    }
}

/// Numbers the sequences of all users.
async fn sweep(events: &Events) {
    // From the beginning at first: nobody may have numbered what was written last.
    let mut since = DateTime::UNIX_EPOCH;
    loop {
        let began = clock::now();
        match number_grown(events, since).await {
            Ok(()) => since = began - OVERLAP,
            Err(error) => tracing::debug!(error = chain(&error), "events were not numbered; trying again"),
        }
        let quarter = u64::try_from(SWEEP.as_millis() / 4).unwrap_or(u64::MAX);
        sleep(SWEEP * 3 / 4 + Duration::from_millis(secrets::random_below(2 * quarter))).await;
    }
}

/// Numbers the sequences of the users whose journals have grown since a time, of which half a minute may be missing.
pub(super) async fn number_grown(events: &Events, since: DateTime<Utc>) -> Result<(), DbError> {
    let store = events.store();
    let mut place = (since, CounterId(0));
    loop {
        let grown = store.grown_after(place, JOURNALS).await?;
        let Some((time, counter, _)) = grown.last() else { return Ok(()) };
        place = (*time, *counter);
        let users: HashSet<UserId> = grown.iter().map(|(_, _, user)| *user).collect();
        let users: Vec<UserId> = users.into_iter().collect();
        // Of users without a sequence nothing is known; the others are asked first, which writes nothing.
        let progress = store.progress(&users).await?;
        let known: HashSet<UserId> = progress.iter().map(|progress| progress.user).collect();
        let behind = progress.iter().filter(|progress| progress.is_behind).map(|progress| progress.user);
        let new = users.iter().copied().filter(|user| !known.contains(user));
        for user in behind.chain(new) {
            store.number_events(user, None).await?;
        }
    }
}
