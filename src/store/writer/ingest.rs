//! Writes of sessions, of many accounts in one transaction: ingest_1, and what comes too seldom for it.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::locks::{LockedJournals, Locking};
use super::session_batch::{MessageRow, Origin, ReceiptRow, SessionBatch};
use super::{Dropped, Leased, SessionWrite};
use crate::db::batcher::{Outcome, column};
use crate::db::{Db, DbError};
use crate::domain::{AccountId, CounterId, Event, Lease, MediaFile, MessageId, PeerId};
use crate::store::message::content::inbound_details;
use crate::store::{Inbound, Journal, Store, Tx, topic};

/// Which part of a batch a statement writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Messages,
    /// Receipts and settlements, which are about messages that are there already.
    Updates,
    All,
}

/// What ingest_1 reports.
#[derive(Default)]
struct IngestReport<'a> {
    /// A session that is not here was left out: some of its locks are not free.
    sessions: HashMap<Lease, SessionReport>,
    dropped: Vec<Origin>,
    /// Files of new messages.
    files: Vec<(MessageId, AccountId, &'a MediaFile)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionReport {
    /// Its part was written; where its journal stands after that.
    Written { seq: i64, now: DateTime<Utc> },
    /// Its lease is somebody else's.
    Fenced,
    /// Some of its locks are not free.
    Deferred,
}

impl IngestReport<'_> {
    fn of(&self, lease: &Lease) -> SessionReport {
        self.sessions.get(lease).copied().unwrap_or(SessionReport::Deferred)
    }

    fn is_written(&self, lease: &Lease) -> bool {
        matches!(self.of(lease), SessionReport::Written { .. })
    }

    /// The journals of the sessions that were written, each locked.
    fn journals(&self) -> HashMap<CounterId, Journal> {
        let written = self.sessions.iter().filter_map(|(lease, report)| match report {
            SessionReport::Written { seq, now } => {
                Some((lease.counter, Journal::new(lease.counter, *seq, *now)))
            }
            SessionReport::Fenced | SessionReport::Deferred => None,
        });
        written.collect()
    }
}

impl Store {
    /// Stores a batch in one transaction: messages in order, then the rest. What is there already is left as it is,
    /// because a network may repeat itself. Returns the positions in the batch of messages that were dropped, because the
    /// account has blocked their sender.
    ///
    /// # Errors
    /// [`DbError::Fenced`] when the lease has passed on; then nothing is stored.
    pub async fn ingest(
        &self,
        lease: &Lease,
        batch: Vec<Inbound>,
        resume_point: Option<&[u8]>,
    ) -> Result<Vec<usize>, DbError> {
        let resume_point = resume_point.map(<[u8]>::to_vec);
        self.writer.write(lease, SessionWrite::Ingest { batch, resume_point }).await
    }
}

/// One transaction, of one statement if that will do.
pub(super) async fn attempt(
    db: &Db,
    writes: &[&Leased],
    locking: Locking,
) -> Result<Vec<Outcome<Dropped>>, DbError> {
    let batch = SessionBatch::of(writes.iter().copied().enumerate());
    let report = if locking == Locking::Free && batch.is_one_statement() {
        let (mut connection, checkout) = db.checkout().await?;
        let report = write(&mut connection, &batch, Part::All).await?;
        checkout.put_back(connection);
        report
    } else {
        let mut tx = Tx::begin(db).await?;
        let report = tx.write_sessions(writes, &batch, locking).await?;
        // Nothing is left of what may not be done, no new chat either.
        if writes.iter().any(|write| report.is_written(&write.lease)) {
            tx.commit().await?;
        }
        report
    };
    notify(db, &batch, &report);
    let mut outcomes: Vec<Outcome<Dropped>> = column(writes, |write| match report.of(&write.lease) {
        SessionReport::Written { .. } => Outcome::Done(Vec::new()),
        SessionReport::Fenced => Outcome::Failed(DbError::Fenced),
        SessionReport::Deferred => Outcome::Deferred,
    });
    for origin in &report.dropped {
        if let Some(Outcome::Done(dropped)) = outcomes.get_mut(origin.write) {
            dropped.push(origin.index);
        }
    }
    Ok(outcomes)
}

fn notify(db: &Db, batch: &SessionBatch<'_>, report: &IngestReport<'_>) {
    for session in batch.sessions.iter().filter(|session| report.is_written(&session.lease)) {
        if session.is_published {
            db.notifications().wake(topic::session(session.lease.account));
        }
        if session.has_files {
            db.notifications().wake_here(&topic::files(session.lease.account));
        }
        db.notifications().wake(topic::journal(session.lease.counter));
    }
}

impl Tx {
    /// Writes the sessions whose locks are there: messages first, then what may be about them.
    async fn write_sessions<'w>(
        &mut self,
        writes: &[&'w Leased],
        batch: &SessionBatch<'w>,
        locking: Locking,
    ) -> Result<IngestReport<'w>, DbError> {
        let new_chats = match locking {
            Locking::Free => BTreeSet::new(),
            Locking::Waiting => {
                let chats = batch.chats.iter();
                let chats =
                    chats.map(|chat| (chat.peer, batch.sessions[chat.session].lease.account)).collect();
                let counters: BTreeSet<i64> = writes.iter().map(|write| write.lease.counter.0).collect();
                self.wait_for(&chats, &Vec::from_iter(counters)).await?
            }
        };
        let report = write(&mut self.inner, batch, Part::Messages).await?;
        let written = writes.iter().copied().enumerate().filter(|(_, write)| report.is_written(&write.lease));
        let batch = SessionBatch::of(written);
        if batch.sessions.is_empty() {
            return Ok(report);
        }
        self.refer_to_files(&report.files).await?;
        let journals = if batch.has_no_updates() {
            report.journals()
        } else {
            write(&mut self.inner, &batch, Part::Updates).await?.journals()
        };
        for account in new_chats {
            self.roster_changed(account).await?;
        }
        let mut journals = LockedJournals::new(journals);
        self.write_rare(batch.rare, &mut journals).await?;
        let moved = journals.into_moved();
        if !moved.is_empty() {
            self.close_journals(moved).await?;
        }
        Ok(report)
    }
}

/// Writes the sessions that hold their leases and whose locks are free. Rows that the transaction has locked already count
/// as free.
async fn write<'a>(
    connection: &mut PgConnection,
    batch: &SessionBatch<'a>,
    part: Part,
) -> Result<IngestReport<'a>, DbError> {
    let SessionBatch { sessions, chats, .. } = batch;
    let messages = if part == Part::Updates { &[][..] } else { &batch.messages };
    let (receipts, settled) =
        if part == Part::Messages { (&[][..], &[][..]) } else { (&batch.receipts[..], &batch.settled[..]) };
    let index = |index: usize| i64::try_from(index).unwrap_or(i64::MAX);
    let fingerprints: Vec<Vec<u8>> = column(messages, |message| message.fingerprint.to_vec());
    let rows = sqlx::query!(
        r#"SELECT session AS "session!", leased AS "leased!", seq, now, message, id
           FROM ingest_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                         $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37)"#,
        // Sessions.
        &column(sessions, |session| session.lease.account.0),
        &column(sessions, |session| session.lease.counter.0),
        &column(sessions, |session| session.lease.process.0),
        &column(sessions, |session| session.lease.fence),
        &column(sessions, |session| session.chats),
        &column(sessions, |session| session.items),
        // The chats that they need.
        &column(chats, |chat| index(chat.session)),
        &column(chats, |chat| chat.peer.0),
        // Messages.
        &column(messages, |message| index(message.session)),
        &column(messages, |message| index(message.chat)),
        &column(messages, |message| message.item),
        &column(messages, |message| message.sender.map(|PeerId(sender)| sender)) as &[Option<i64>],
        &column(messages, |message| message.network_id) as &[&str],
        &column(messages, |message| message.content.letter()) as &[&str],
        &column(messages, |message| message.content.text()) as &[Option<&str>],
        &fingerprints,
        &column(messages, |message| message.sent_at),
        &column(messages, |message| inbound_details(message.content, message.reply_to)) as &[Option<Value>],
        &column(messages, |message| message.event.as_ref().map(Event::kind)) as &[Option<&str>],
        &column(messages, |message| message.event.as_ref().map(Event::payload)) as &[Option<Value>],
        &column(messages, |message| message.introduction.clone()) as &[Option<Value>],
        // Receipts.
        &column(receipts, |receipt| index(receipt.session)),
        &column(receipts, |receipt| receipt.item),
        &column(receipts, |receipt| receipt.peer.0),
        &column(receipts, |receipt| receipt.network_id) as &[&str],
        &column(receipts, |receipt| receipt.read),
        &column(receipts, ReceiptRow::payload),
        // Settlements.
        &column(settled, |row| index(row.session)),
        &column(settled, |row| row.item),
        &column(settled, |row| row.settled.message.0),
        &column(settled, |row| row.settled.failure()) as &[Option<&str>],
        &column(settled, |row| row.settled.payload()),
        // Kinds of events.
        Event::CONTACT_UPDATED,
        Event::MESSAGE_SENT,
        Event::MESSAGE_FAILED,
        Event::MESSAGE_DELIVERED,
        Event::MESSAGE_READ
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut report = IngestReport::default();
    for row in rows {
        let Some(session) = usize::try_from(row.session).ok().and_then(|at| sessions.get(at)) else {
            continue;
        };
        if let Some(position) = row.message {
            let at = usize::try_from(position - 1).unwrap_or(usize::MAX);
            match (messages.get(at), row.id) {
                (Some(message), Some(id)) => {
                    let file = message.content.file();
                    report.files.extend(file.map(|file| (MessageId(id), session.lease.account, file)));
                }
                (Some(message), None) => report.dropped.extend(origins(batch, at, message)),
                (None, _) => {}
            }
            continue;
        }
        let session_report = match (row.leased, row.seq, row.now) {
            (_, Some(seq), Some(now)) => SessionReport::Written { seq, now },
            (true, ..) => SessionReport::Deferred,
            (false, ..) => SessionReport::Fenced,
        };
        report.sessions.insert(session.lease, session_report);
    }
    Ok(report)
}

/// Where a message and its duplicates stand.
fn origins<'b>(
    batch: &'b SessionBatch<'_>,
    index: usize,
    message: &'b MessageRow<'_>,
) -> impl Iterator<Item = Origin> + 'b {
    let duplicates = batch.duplicates.iter().filter(move |(of, _)| *of == index).map(|(_, origin)| *origin);
    std::iter::once(message.origin).chain(duplicates)
}
