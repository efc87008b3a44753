//! Messages of the API, of many accounts in one transaction: accept_1, and what goes with keys and files.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use super::locks::Locking;
use crate::db::batcher::{Outcome, at_position, column};
use crate::db::{Db, DbError};
use crate::domain::{AccountId, Content, CounterId, Event, MediaFile, MessageId, PeerId};
use crate::lifecycle::Deadline;
use crate::store::message::content::{details, fingerprint};
use crate::store::{Accepted, ClaimedResponse, MediaReservation, OUTBOX_LIMIT, Tx, topic};

/// A message of the API, see [`crate::store::NewMessage`].
pub(in crate::store) struct SendRequest {
    pub account: AccountId,
    pub counter: CounterId,
    /// Whether the caller named the account; without that it has to be the oldest.
    pub named: bool,
    pub id: String,
    pub peer: PeerId,
    pub public_id: String,
    pub content: Content,
    pub time_to_live: Duration,
    pub keyed: Option<ClaimedResponse>,
    pub reservation: Option<MediaReservation>,
    /// Of the request that sends it.
    pub deadline: Option<Deadline>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SendOutcome {
    Queued(MessageId),
    OutboxFull,
    /// The account may not, or no longer, write there.
    NotAllowed,
    /// Some of its locks are not free.
    Deferred,
}

/// One transaction, of one statement if that will do. No answer for those that it leaves out.
pub(super) async fn attempt(
    db: &Db,
    sends: &[&SendRequest],
    locking: Locking,
) -> Result<Vec<Outcome<Accepted>>, DbError> {
    let outcomes = match locking {
        Locking::Free if sends.iter().all(|send| send.keyed.is_none() && file(send).is_none()) => {
            let (mut connection, checkout) = db.checkout().await?;
            let outcomes = write(&mut connection, sends).await?;
            checkout.put_back(connection);
            outcomes
        }
        Locking::Free => {
            let mut tx = Tx::begin(db).await?;
            let outcomes = tx.write_sends(sends).await?;
            tx.commit().await?;
            outcomes
        }
        Locking::Waiting => wait_and_write(db, sends).await?,
    };
    Ok(sends
        .iter()
        .zip(outcomes)
        .map(|(send, outcome)| {
            let accepted = match outcome {
                SendOutcome::Queued(_) => {
                    db.notifications().wake(topic::work(send.account));
                    db.notifications().wake(topic::journal(send.counter));
                    Accepted::Queued(send.id.clone())
                }
                SendOutcome::OutboxFull => Accepted::OutboxFull,
                SendOutcome::NotAllowed => Accepted::NotAllowed,
                SendOutcome::Deferred => return Outcome::Deferred,
            };
            Outcome::Done(accepted)
        })
        .collect())
}

/// Waits for the locks, and makes the chats that are missing, but none for a message that is refused.
async fn wait_and_write(db: &Db, sends: &[&SendRequest]) -> Result<Vec<SendOutcome>, DbError> {
    let mut outcomes = vec![SendOutcome::NotAllowed; sends.len()];
    let mut left: Vec<usize> = (0..sends.len()).collect();
    while !left.is_empty() {
        let wanted: Vec<&SendRequest> = left.iter().map(|place| sends[*place]).collect();
        let (chats, counters) = locks(&wanted);
        let mut tx = Tx::begin(db).await?;
        let new = tx.wait_for(&chats, &counters).await?;
        // What a caller was refused while the locks were awaited must not happen any more.
        let given_up = |place: &usize| sends[*place].deadline.as_ref().is_some_and(Deadline::is_given_up);
        if left.iter().any(given_up) {
            left.retain(|place| !given_up(place));
            continue;
        }
        let found = tx.write_sends(&wanted).await?;
        // What is missing in spite of that belongs to an account that is gone.
        let refused =
            |outcome: &SendOutcome| matches!(outcome, SendOutcome::NotAllowed | SendOutcome::Deferred);
        if found.iter().any(refused) {
            left = left
                .into_iter()
                .zip(&found)
                .filter(|(_, found)| !refused(found))
                .map(|(place, _)| place)
                .collect();
            continue;
        }
        for account in new {
            tx.roster_changed(account).await?;
        }
        tx.commit().await?;
        for (place, outcome) in left.drain(..).zip(found) {
            outcomes[place] = outcome;
        }
    }
    Ok(outcomes)
}

impl Tx {
    /// Writes the messages, and what goes with some: the answers of requests with a key, and references to files, for which
    /// bytes may be reserved.
    async fn write_sends(&mut self, sends: &[&SendRequest]) -> Result<Vec<SendOutcome>, DbError> {
        let outcomes = write(&mut self.inner, sends).await?;
        let mut files = Vec::new();
        let mut keyed = Vec::new();
        let mut reservations = Vec::new();
        for (send, outcome) in sends.iter().zip(&outcomes) {
            if let SendOutcome::Queued(message) = outcome {
                files.extend(file(send).map(|file| (*message, send.account, file)));
                keyed.extend(&send.keyed);
                reservations.extend(send.reservation);
            }
        }
        self.refer_to_files(&files).await?;
        // As below: one that is over fails the batch.
        self.use_reservations(&reservations).await?;
        if !keyed.is_empty() {
            let kept = self.save_answers(keyed.iter().copied()).await?;
            // With one whose claim is over nothing is written: the batch is split until that one is alone.
            if keyed.iter().any(|answer| !kept.contains(&answer.claim)) {
                return Err(DbError::Fenced);
            }
        }
        Ok(outcomes)
    }
}

fn file(send: &SendRequest) -> Option<&MediaFile> {
    send.content.file()
}

/// The chats and the counters that the messages need.
fn locks(sends: &[&SendRequest]) -> (BTreeSet<(PeerId, AccountId)>, Vec<i64>) {
    let counters: BTreeSet<CounterId> = sends.iter().map(|send| send.counter).collect();
    let chats = sends.iter().map(|send| (send.peer, send.account)).collect();
    (chats, counters.into_iter().map(|counter| counter.0).collect())
}

/// Writes the messages that may be sent and whose locks are free. Rows that the transaction has locked already count as
/// free.
async fn write(connection: &mut PgConnection, sends: &[&SendRequest]) -> Result<Vec<SendOutcome>, DbError> {
    let (targets, indexes) = targets(sends);
    let fingerprints: Vec<Vec<u8>> = column(sends, |send| fingerprint(&send.content).to_vec());
    let rows = sqlx::query!(
        r#"SELECT position AS "position!", allowed AS "allowed!", id
           FROM accept_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"#,
        OUTBOX_LIMIT,
        // Targets.
        &column(&targets, |target| target.chat.0.0),
        &column(&targets, |target| target.chat.1.0),
        &column(&targets, |target| target.counter.0),
        &column(&targets, |target| target.named),
        // Messages.
        &indexes,
        &column(sends, |send| send.id.as_str()) as &[&str],
        &column(sends, |send| send.content.letter()) as &[&str],
        &column(sends, |send| send.content.text()) as &[Option<&str>],
        &fingerprints,
        &column(sends, |send| send.time_to_live.as_secs_f64()),
        &column(sends, |send| details(&send.content)) as &[Option<Value>],
        &column(sends, |send| {
            Event::MessageQueued { chat: send.public_id.clone(), id: send.id.clone() }.payload()
        }),
        Event::MESSAGE_QUEUED
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut outcomes = vec![SendOutcome::Deferred; sends.len()];
    for row in rows {
        if let Some(outcome) = at_position(&mut outcomes, row.position) {
            let missing = if row.allowed { SendOutcome::OutboxFull } else { SendOutcome::NotAllowed };
            *outcome = row.id.map_or(missing, |id| SendOutcome::Queued(MessageId(id)));
        }
    }
    Ok(outcomes)
}

/// The targets of the messages, each once, and the index of each message's target.
fn targets(sends: &[&SendRequest]) -> (Vec<Target>, Vec<i64>) {
    let targets: BTreeSet<Target> = sends.iter().map(|send| Target::of(send)).collect();
    let targets: Vec<Target> = targets.into_iter().collect();
    let indexes = column(sends, |send| {
        let index = targets.binary_search(&Target::of(send)).unwrap_or_else(|index| index);
        i64::try_from(index).unwrap_or(i64::MAX)
    });
    (targets, indexes)
}

/// What must be locked and looked up for a message, once for all messages that have it in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    /// First, because it is the order in which chats are locked.
    chat: (PeerId, AccountId),
    counter: CounterId,
    named: bool,
}

impl Target {
    fn of(send: &SendRequest) -> Self {
        let SendRequest { account, counter, peer, named, .. } = *send;
        Self { chat: (peer, account), counter, named }
    }
}
