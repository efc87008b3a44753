//! Group commit: what the API sends and what sessions store, of many accounts at once.
//!
//! An account's writes go to one of a few lines ([`Gather`]); each line's waiting writes become one transaction, so the
//! busier it is, the less a write costs. A transaction takes only locks that are free: accounts that somebody else
//! holds, and chats that do not exist yet, are left out of it and done alone, one transaction per account at a time, so
//! that a held account holds up nobody else. A transaction that fails is split until what makes it fail is alone.

mod change;
mod group_receipts;
mod locks;
mod postponed;
mod profiles;
mod published;
mod sends;
mod sessions;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::gather::{self, Asked, Attempt, Gather, MOST, together};
use super::{Accepted, Inbound, InboundKind, KeyedAnswer, Settled, Store, StoreError, Topic, Tx};
use crate::domain::{
    AccountId, Content, CounterId, Lease, MediaFile, PeerId, ProfileNews, SessionState, Shown,
};
use change::Change;
use locks::{Locked, Locking};
use sessions::{Outcome, Part, Rows, Verdict};

/// Accounts that are done alone at one time.
const ALONE: usize = 4;
/// Writes of one account that may wait to be done alone; beyond it they are turned away.
const LONGEST_ALONE: usize = 2 * MOST;

/// What is written.
pub(super) enum Write {
    /// A message from the API.
    Send(Box<Send>),
    /// Something of the session that holds the lease.
    Session(Lease, OfSession),
}

/// What a session writes.
pub(super) enum OfSession {
    /// What became of messages that were due.
    Settled(Vec<Settled>),
    /// What its network told.
    Told { batch: Vec<Inbound>, resume_point: Option<Vec<u8>> },
    /// What it does.
    State { state: SessionState, reason: Option<String> },
}

/// A message from the API, see [`super::Outgoing`].
pub(super) struct Send {
    pub account: AccountId,
    pub counter: CounterId,
    /// Whether the caller named the account; without that it has to be the oldest.
    pub named: bool,
    pub id: String,
    pub peer: PeerId,
    pub public_id: String,
    pub in_group: bool,
    pub content: Content,
    pub time_to_live: Duration,
    pub keyed: Option<KeyedAnswer>,
}

/// How it went.
#[derive(Debug)]
pub(super) enum Written {
    /// Of a message from the API.
    Accepted(Accepted),
    /// Of what a network told: without these messages, of people whom the account has blocked.
    Without(Vec<(PeerId, String)>),
    /// Of all else.
    Stored,
}

type Asking = Asked<Write, Written>;
type Answer = gather::Answer<Written>;

/// The lines, and the accounts that are done alone.
pub(super) struct Writers {
    lines: Vec<Gather<Write, Written>>,
    alone: Mutex<HashMap<CounterId, Vec<Asking>>>,
    permits: Semaphore,
}

impl Default for Writers {
    fn default() -> Self {
        // A line keeps a core of the database busy, but for the time in which it waits for the disk; more lines than
        // cores make smaller transactions, not more of them.
        let lines = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        Self {
            lines: (0..lines).map(|_| Gather::by(|store, asked| Box::pin(share(store, asked)))).collect(),
            alone: Mutex::default(),
            permits: Semaphore::new(ALONE),
        }
    }
}

impl Store {
    /// Writes, together with what others write now.
    pub(super) async fn write(&self, write: Write) -> Answer {
        // An account keeps to one line, so that lines do not find each other's accounts locked.
        let lines = &self.writers.lines;
        let line = usize::try_from(write.counter().0).unwrap_or_default() % lines.len();
        lines[line].ask(self, write).await
    }
}

impl Write {
    fn counter(&self) -> CounterId {
        match self {
            Self::Send(send) => send.counter,
            Self::Session(lease, _) => lease.counter,
        }
    }

    fn as_send(&self) -> Option<&Send> {
        match self {
            Self::Send(send) => Some(send),
            Self::Session(..) => None,
        }
    }

    fn of_session(&self) -> Option<(&Lease, &OfSession)> {
        match self {
            Self::Send(_) => None,
            Self::Session(lease, what) => Some((lease, what)),
        }
    }
}

impl OfSession {
    /// With whom the account has to have a chat for this.
    fn chats(&self) -> Vec<PeerId> {
        match self {
            Self::Settled(_) | Self::State { .. } => Vec::new(),
            Self::Told { batch, .. } => {
                batch.iter().filter(|item| item.what.needs_chat()).map(|item| item.peer.id).collect()
            }
        }
    }
}

impl InboundKind {
    fn needs_chat(&self) -> bool {
        match self {
            Self::Message { .. } | Self::ReadElsewhere { .. } | Self::Group { .. } => true,
            Self::Receipt { .. } | Self::Nickname(_) | Self::Profile(_) | Self::Undecryptable { .. } => false,
        }
    }
}

/// One line's transactions; what they have to leave out is done alone.
async fn share(store: Store, asked: Vec<Asking>) {
    for locked in write_all(&store, asked, Locking::Free).await {
        alone(&store, locked);
    }
}

/// The messages from the API in one transaction, what sessions write in another. Gives those that were left out.
async fn write_all(store: &Store, asked: Vec<Asking>, locking: Locking) -> Vec<Asking> {
    let (of_sends, of_sessions): (Attempt<Write, Written>, Attempt<Write, Written>) = match locking {
        Locking::Free => (
            |store, writes| Box::pin(sends::attempt(store, writes, Locking::Free)),
            |store, writes| Box::pin(attempt(store, writes, Locking::Free)),
        ),
        Locking::Waiting => (
            |store, writes| Box::pin(sends::attempt(store, writes, Locking::Waiting)),
            |store, writes| Box::pin(attempt(store, writes, Locking::Waiting)),
        ),
    };
    let (sends, others): (Vec<Asking>, Vec<Asking>) =
        asked.into_iter().partition(|asked| asked.question.as_send().is_some());
    let mut left_out = Vec::new();
    for (asked, attempt) in [(sends, of_sends), (others, of_sessions)] {
        if !asked.is_empty() {
            left_out.extend(together(store, asked, attempt).await);
        }
    }
    left_out
}

/// Does an account's writes in transactions of their own, which wait for its locks.
fn alone(store: &Store, asked: Asking) {
    let counter = asked.question.counter();
    let mut alone = store.writers.alone.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(waiting) = alone.get_mut(&counter) {
        if waiting.len() < LONGEST_ALONE {
            waiting.push(asked);
        } else {
            asked.answer(Err(StoreError::from(sqlx::Error::PoolTimedOut)));
        }
        return;
    }
    alone.insert(counter, vec![asked]);
    #[expect(clippy::disallowed_methods, reason = "its callers wait for it; it ends with the last of them")]
    tokio::spawn(work_alone(store.clone(), counter));
}

async fn work_alone(store: Store, counter: CounterId) {
    let end = End(&store.writers, counter);
    loop {
        // The semaphore is never closed.
        let _permit = store.writers.permits.acquire().await;
        let asked = {
            let mut alone = store.writers.alone.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = alone.entry(counter).or_default();
            if waiting.is_empty() {
                alone.remove(&counter);
                std::mem::forget(end);
                return;
            }
            let count = waiting.len().min(MOST);
            waiting.drain(..count).collect::<Vec<_>>()
        };
        // Nothing is left out by one that waits.
        write_all(&store, asked, Locking::Waiting).await;
    }
}

/// After a panic: those who wait hear that there is no answer.
struct End<'a>(&'a Writers, CounterId);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.alone.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// One transaction of sessions' writes, of one statement if that will do. No answer for those that it leaves out.
async fn attempt(
    store: &Store,
    writes: &[&Write],
    locking: Locking,
) -> Result<Vec<Option<Answer>>, StoreError> {
    let writes: Vec<(&Lease, &OfSession)> = writes.iter().filter_map(|write| write.of_session()).collect();
    let outcome = if locking == Locking::Free && writes.iter().all(|(_, what)| what.is_plain()) {
        let (mut connection, loan) = store.kept().await?;
        let outcome = Rows::of(&writes, Part::All).write(&mut connection).await?;
        loan.keep(connection);
        outcome
    } else {
        let mut tx = store.begin().await?;
        let outcome = tx.write_of_sessions(&writes, locking).await?;
        // Of what may not be done nothing is left, no new chat either.
        if writes.iter().any(|(lease, _)| outcome.admits(lease)) {
            tx.commit().await?;
        }
        outcome
    };
    for (lease, what) in admitted(&writes, &outcome) {
        match what {
            OfSession::State { .. } => store.wakes.wake(Topic::session(lease.account)),
            // What it told of has to be fetched.
            OfSession::Told { batch, .. } if batch.iter().any(has_remote_file) => {
                store.wakes.wake_here(&Topic::files(lease.account));
            }
            OfSession::Settled(_) | OfSession::Told { .. } => {}
        }
        store.wakes.wake(Topic::journal(lease.counter));
    }
    Ok(writes.into_iter().map(|(lease, what)| answer(lease, what, &outcome)).collect())
}

/// Those of the writes that are done.
fn admitted<'w>(
    writes: &[(&'w Lease, &'w OfSession)],
    outcome: &Outcome<'_>,
) -> Vec<(&'w Lease, &'w OfSession)> {
    writes.iter().copied().filter(|(lease, _)| outcome.admits(lease)).collect()
}

fn answer(lease: &Lease, what: &OfSession, outcome: &Outcome<'_>) -> Option<Answer> {
    match (outcome.of(lease), what) {
        (Verdict::Held, _) => None,
        (Verdict::Fenced, _) => Some(Err(StoreError::Fenced)),
        (Verdict::Written { .. }, OfSession::Told { .. }) if !outcome.dropped.is_empty() => {
            let of_lease = outcome.dropped.iter().filter(|(of, ..)| of == lease);
            let dropped = of_lease.map(|(_, peer, id)| (*peer, (*id).to_owned()));
            Some(Ok(Written::Without(dropped.collect())))
        }
        (Verdict::Written { .. }, _) => Some(Ok(Written::Stored)),
    }
}

impl Tx {
    /// Writes those whose locks are there: the messages first, then what may be about them.
    async fn write_of_sessions<'w>(
        &mut self,
        writes: &[(&'w Lease, &'w OfSession)],
        locking: Locking,
    ) -> Result<Outcome<'w>, StoreError> {
        let new = match locking {
            Locking::Free => BTreeSet::new(),
            Locking::Waiting => {
                let chats = writes
                    .iter()
                    .flat_map(|(lease, what)| what.chats().into_iter().map(|peer| (peer, lease.account)))
                    .collect();
                let counters: BTreeSet<i64> = writes.iter().map(|(lease, _)| lease.counter.0).collect();
                self.wait_for(&chats, &Vec::from_iter(counters)).await?
            }
        };
        let outcome = Rows::of(writes, Part::Messages).write(&mut self.inner).await?;
        let admitted = admitted(writes, &outcome);
        if admitted.is_empty() {
            return Ok(outcome);
        }
        let files: Vec<_> =
            outcome.files.iter().map(|(message, lease, file)| (*message, lease.account, *file)).collect();
        self.refer_to_files(&files).await?;
        let marks = Rows::of(&admitted, Part::Marks);
        let mut locked = if marks.is_empty() {
            Locked::new(outcome.journals())
        } else {
            Locked::new(marks.write(&mut self.inner).await?.journals())
        };
        for account in new {
            self.roster_changed(account).await?;
        }
        let mut change = Change::default();
        for (lease, what) in admitted {
            change.add(lease, what);
        }
        self.apply(change, &mut locked).await?;
        let moved = locked.into_moved();
        if !moved.is_empty() {
            self.close_journals(moved).await?;
        }
        Ok(outcome)
    }
}

impl OfSession {
    /// Whether [`sessions`] has a place for all of it, and none of it is about a message that comes with it.
    fn is_plain(&self) -> bool {
        match self {
            Self::Settled(settled) => settled.iter().all(|one| one.how.is_final()),
            Self::Told { batch, resume_point } => resume_point.is_none() && batch.iter().all(is_plain),
            Self::State { .. } => false,
        }
    }
}

fn is_plain(item: &Inbound) -> bool {
    match &item.what {
        InboundKind::Message { from_us, .. } => !from_us && !has_remote_file(item),
        InboundKind::Receipt { .. } => item.participant.is_none(),
        _ => false,
    }
}

fn has_remote_file(item: &Inbound) -> bool {
    match &item.what {
        InboundKind::Message { content, .. } => matches!(content.file(), Some(MediaFile::Remote(_))),
        InboundKind::Profile(ProfileNews::Photo(Shown::Value(photo))) => photo.is_some(),
        _ => false,
    }
}

/// One value of each row.
fn column<'r, Row, T>(rows: &'r [Row], of: impl FnMut(&'r Row) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
