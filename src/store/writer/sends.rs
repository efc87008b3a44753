//! Messages from the API: of many accounts, as one statement.
//!
//! It locks what is free, looks whether each message may be sent, and writes messages, outbox, chats, events and
//! counters. It reads as of its begin, and locks after that: an account whose counter row has changed in between is left
//! out, so that nothing is queued behind the back of whoever unregisters it or takes the contact away.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use super::locks::Locking;
use crate::db::batcher::{Outcome, at_place, column};
use crate::db::{Db, DbError};
use crate::domain::{AccountId, Content, CounterId, Event, MediaFile, MessageId, PeerId};
use crate::store::message::content::{details, fingerprint};
use crate::store::{Accepted, ClaimedResponse, OUTBOX_LIMIT, Tx, topic};

/// A message from the API, see [`crate::store::NewMessage`].
pub(in crate::store) struct Send {
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
    pub keyed: Option<ClaimedResponse>,
}

/// What became of one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is a message now.
    Queued(MessageId),
    /// The outbox is full.
    Full,
    /// The account may not send it, or no longer.
    Refused,
    /// Its locks are not free.
    Held,
}

/// One transaction, of one statement if that will do. No answer for those that it leaves out.
pub(super) async fn attempt(
    db: &Db,
    sends: &[&Send],
    locking: Locking,
) -> Result<Vec<Outcome<Accepted>>, DbError> {
    let verdicts = match locking {
        Locking::Free if sends.iter().all(|send| send.keyed.is_none() && file(send).is_none()) => {
            let (mut connection, checkout) = db.checkout().await?;
            let verdicts = write(&mut connection, sends).await?;
            checkout.put_back(connection);
            verdicts
        }
        Locking::Free => {
            let mut tx = Tx::begin(db).await?;
            let verdicts = tx.write_sends(sends).await?;
            tx.commit().await?;
            verdicts
        }
        Locking::Waiting => wait_and_write(db, sends).await?,
    };
    Ok(sends
        .iter()
        .zip(verdicts)
        .map(|(send, verdict)| {
            let accepted = match verdict {
                Verdict::Queued(_) => {
                    db.notifications().wake(topic::work(send.account));
                    db.notifications().wake(topic::journal(send.counter));
                    Accepted::Queued(send.id.clone())
                }
                Verdict::Full => Accepted::OutboxFull,
                Verdict::Refused => Accepted::NotAllowed,
                Verdict::Held => return Outcome::Deferred,
            };
            Outcome::Done(accepted)
        })
        .collect())
}

/// Waits for the locks, and makes the chats that are missing, but none for a message that is refused.
async fn wait_and_write(db: &Db, sends: &[&Send]) -> Result<Vec<Verdict>, DbError> {
    let mut verdicts = vec![Verdict::Refused; sends.len()];
    let mut left: Vec<usize> = (0..sends.len()).collect();
    while !left.is_empty() {
        let wanted: Vec<&Send> = left.iter().map(|place| sends[*place]).collect();
        let (chats, counters) = locks(&wanted);
        let mut tx = Tx::begin(db).await?;
        let new = tx.wait_for(&chats, &counters).await?;
        let found = tx.write_sends(&wanted).await?;
        // What is missing in spite of that belongs to an account that is gone.
        let refused = |verdict: &Verdict| matches!(verdict, Verdict::Refused | Verdict::Held);
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
        for (place, verdict) in left.drain(..).zip(found) {
            verdicts[place] = verdict;
        }
    }
    Ok(verdicts)
}

impl Tx {
    /// Writes the messages, and what goes with some: the answers of requests with a key, and references to files.
    async fn write_sends(&mut self, sends: &[&Send]) -> Result<Vec<Verdict>, DbError> {
        let verdicts = write(&mut self.inner, sends).await?;
        let mut files = Vec::new();
        let mut keyed = Vec::new();
        for (send, verdict) in sends.iter().zip(&verdicts) {
            if let Verdict::Queued(message) = verdict {
                files.extend(file(send).map(|file| (*message, send.account, file)));
                keyed.extend(&send.keyed);
            }
        }
        self.refer_to_files(&files).await?;
        if !keyed.is_empty() {
            let kept = self.keep_answers(keyed.iter().copied()).await?;
            // With one whose claim is over nothing is written: the batch is split until that one is alone.
            if keyed.iter().any(|answer| !kept.contains(&answer.claim)) {
                return Err(DbError::Fenced);
            }
        }
        Ok(verdicts)
    }
}

fn file(send: &Send) -> Option<&MediaFile> {
    send.content.file()
}

/// The chats and the counters that the messages need.
fn locks(sends: &[&Send]) -> (BTreeSet<(PeerId, AccountId)>, Vec<i64>) {
    let counters: BTreeSet<CounterId> = sends.iter().map(|send| send.counter).collect();
    let chats = sends.iter().map(|send| (send.peer, send.account)).collect();
    (chats, counters.into_iter().map(|counter| counter.0).collect())
}

/// Writes those that may be sent and whose locks are free. Rows that the transaction has locked already count as free.
async fn write(connection: &mut PgConnection, sends: &[&Send]) -> Result<Vec<Verdict>, DbError> {
    let (targets, places) = targets(sends);
    let events: Vec<Event> =
        column(sends, |send| Event::MessageQueued { chat: send.public_id.clone(), id: send.id.clone() });
    let fingerprints: Vec<Vec<u8>> = column(sends, |send| fingerprint(&send.content).to_vec());
    let rows = sqlx::query!(
        r#"WITH target AS MATERIALIZED (
            SELECT w.place - 1 AS place, w.account_id, h.id AS chat_id, c.id AS counter_id, c.seq, c.now,
                   a.registered_at IS NOT NULL AND older.found IS NULL AND CASE
                       WHEN w.in_group THEN h.group_revision IS NOT NULL AND member.found IS NOT NULL
                       ELSE h.peer_wrote OR coalesce(t.exists_there, false) END AS allowed,
                   $1 - (SELECT count(*) FROM (
                       SELECT 1 FROM outbox o WHERE o.account_id = w.account_id LIMIT $1) AS waiting) AS room
            FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], $6::boolean[])
                 WITH ORDINALITY AS w (peer_id, account_id, counter_id, in_group, named, place)
            CROSS JOIN LATERAL (
                SELECT id, peer_wrote, group_revision FROM chat
                WHERE account_id = w.account_id AND peer_id = w.peer_id FOR NO KEY UPDATE SKIP LOCKED) h
            CROSS JOIN LATERAL (
                SELECT id, ctid AS version, seq, greatest(statement_timestamp(), stored_at) AS now FROM account_counter
                WHERE id = w.counter_id FOR NO KEY UPDATE SKIP LOCKED) c
            CROSS JOIN LATERAL (
                SELECT 1 FROM account_counter before WHERE before.id = c.id AND before.ctid = c.version LIMIT 1) same
            CROSS JOIN LATERAL (SELECT * FROM account WHERE id = w.account_id LIMIT 1) a
            LEFT JOIN LATERAL (
                SELECT true AS found FROM account b WHERE NOT w.named AND b.user_id = a.user_id
                AND b.registered_at IS NOT NULL AND (b.created_at, b.id) < (a.created_at, a.id) LIMIT 1) older ON true
            LEFT JOIN LATERAL (
                SELECT true AS found FROM peer own JOIN group_member m ON m.member_peer_id = own.id
                WHERE w.in_group AND own.network = a.network AND own.public_id = a.number
                  AND m.group_peer_id = w.peer_id LIMIT 1) member ON true
            LEFT JOIN LATERAL (
                SELECT exists_there FROM contact
                WHERE account_id = w.account_id AND peer_id = w.peer_id LIMIT 1) t ON true
         ), decided AS MATERIALIZED (
            SELECT l.*, CASE WHEN allowed AND nth <= room THEN nextval('message_id_seq') END AS id,
                   now + (2 * nth - 1) * interval '1 microsecond' AS stored_at,
                   now + 2 * nth * interval '1 microsecond' AS told_at
            FROM (
                SELECT g.*, t.account_id, t.chat_id, t.counter_id, t.seq, t.now, t.allowed, t.room,
                       row_number() OVER (PARTITION BY t.counter_id, t.allowed ORDER BY g.place) AS nth
                FROM unnest($7::bigint[], $8::text[], $9::text[], $10::text[], $11::bytea[], $12::float8[],
                            $13::jsonb[], $14::text[], $15::jsonb[]) WITH ORDINALITY
                     AS g (target, network_id, type, text, fingerprint, seconds, details, kind, payload, place)
                JOIN target t ON t.place = g.target) l
         ), message AS (
            INSERT INTO message (id, account_id, chat_id, network_id, state, type, text, fingerprint, stored_at, details)
            OVERRIDING SYSTEM VALUE
            SELECT id, account_id, chat_id, network_id, 'queued', type, text, fingerprint, stored_at, details
            FROM decided WHERE id IS NOT NULL
         ), outbox AS (
            INSERT INTO outbox (message_id, account_id, chat_id, expires_at)
            SELECT id, account_id, chat_id, clock_timestamp() + make_interval(secs => seconds)
            FROM decided WHERE id IS NOT NULL
         ), touched AS (
            UPDATE chat h SET last_message_id = n.id, last_at = n.at FROM (
                SELECT chat_id, max(id) AS id, max(stored_at) AS at
                FROM decided WHERE id IS NOT NULL GROUP BY chat_id) n
            WHERE h.id = n.chat_id
         ), told AS (
            INSERT INTO event (counter_id, seq, at, kind, payload)
            SELECT counter_id, seq + nth, told_at, kind, payload FROM decided WHERE id IS NOT NULL
         ), counted AS (
            UPDATE account_counter c SET seq = n.seq, stored_at = n.at FROM (
                SELECT counter_id, max(seq + nth) AS seq, max(told_at) AS at
                FROM decided WHERE id IS NOT NULL GROUP BY counter_id) n
            WHERE c.id = n.counter_id)
         SELECT place AS "place!", allowed AS "allowed!", id FROM decided"#,
        OUTBOX_LIMIT,
        &column(&targets, |target| target.chat.0.0),
        &column(&targets, |target| target.chat.1.0),
        &column(&targets, |target| target.counter.0),
        &column(&targets, |target| target.in_group),
        &column(&targets, |target| target.named),
        &places,
        &column(sends, |send| send.id.as_str()) as &[&str],
        &column(sends, |send| send.content.letter()) as &[&str],
        &column(sends, |send| send.content.text()) as &[Option<&str>],
        &fingerprints,
        &column(sends, |send| send.time_to_live.as_secs_f64()),
        &column(sends, |send| details(&send.content)) as &[Option<Value>],
        &column(&events, Event::kind) as &[&str],
        &column(&events, Event::payload)
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut verdicts = vec![Verdict::Held; sends.len()];
    for row in rows {
        if let Some(verdict) = at_place(&mut verdicts, row.place) {
            let missing = if row.allowed { Verdict::Full } else { Verdict::Refused };
            *verdict = row.id.map_or(missing, |id| Verdict::Queued(MessageId(id)));
        }
    }
    Ok(verdicts)
}

/// Where the messages go, each once, and which of them each message goes to.
fn targets(sends: &[&Send]) -> (Vec<Target>, Vec<i64>) {
    let targets: BTreeSet<Target> = sends.iter().map(|send| Target::of(send)).collect();
    let targets: Vec<Target> = targets.into_iter().collect();
    let places = column(sends, |send| {
        let place = targets.binary_search(&Target::of(send)).unwrap_or_else(|place| place);
        i64::try_from(place).unwrap_or(i64::MAX)
    });
    (targets, places)
}

/// Where a message goes: what must be locked and looked up for it, once for all that go there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    /// First, because it is the order in which chats are locked.
    chat: (PeerId, AccountId),
    counter: CounterId,
    in_group: bool,
    named: bool,
}

impl Target {
    fn of(send: &Send) -> Self {
        let Send { account, counter, peer, in_group, named, .. } = *send;
        Self { chat: (peer, account), counter, in_group, named }
    }
}
