//! What sessions write all the time, of many accounts, as one statement: messages that came in, receipts, and what became
//! of messages that were due.
//!
//! It locks what is free, looks which sessions still hold their leases, and writes messages, chats, events and counters.
//! As [`super::sends`] it leaves out an account whose counter row has changed since it began: all else that it reads of an
//! account stands still as long as that row does.

mod rows;

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::change::Change;
use super::locks::{Locked, Locking};
use super::{Dropped, Leased, SessionWrite};
use crate::db::batcher::{Outcome as DbOutcome, column};
use crate::db::{Db, DbError};
use crate::domain::{CounterId, Event, Lease, MediaFile, MessageId, PeerId, ProfileNews, Visible};
use crate::store::message::content::details;
use crate::store::{Inbound, InboundKind, Journal, Tx, topic};
use rows::{ReceiptRow, SessionRow};

pub(super) use rows::{Part, Rows};

/// How it went.
pub(super) struct Outcome<'a> {
    /// Of those that do not stand here some locks are not free.
    verdicts: HashMap<Lease, Verdict>,
    /// Messages of people whom the account has blocked: whose session, from whom, and the id.
    pub dropped: Vec<(Lease, PeerId, &'a str)>,
    /// Files of new messages.
    pub files: Vec<(MessageId, Lease, &'a MediaFile)>,
}

/// What became of a session's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are done; the journal stands there now.
    Written { seq: i64, now: DateTime<Utc> },
    /// The lease is somebody else's.
    Fenced,
    /// Some of the locks are not free.
    Held,
}

impl Outcome<'_> {
    /// Of a session that was asked for.
    pub fn of(&self, lease: &Lease) -> Verdict {
        self.verdicts.get(lease).copied().unwrap_or(Verdict::Held)
    }

    /// Whether a session's writes were done.
    pub fn admits(&self, lease: &Lease) -> bool {
        matches!(self.of(lease), Verdict::Written { .. })
    }

    /// The journals of those that were done, each locked.
    pub fn journals(&self) -> HashMap<CounterId, Journal> {
        let written = self.verdicts.iter().filter_map(|(lease, verdict)| match verdict {
            Verdict::Written { seq, now } => Some((lease.counter, Journal::new(lease.counter, *seq, *now))),
            Verdict::Fenced | Verdict::Held => None,
        });
        written.collect()
    }
}

impl<'a> Rows<'a> {
    /// Writes those of sessions that hold their leases and whose locks are free. Rows that the transaction has locked
    /// already count as free.
    ///
    /// A message that is there already is left as it is, and one to the account alone of somebody whom it has blocked is
    /// dropped. Whoever wrote one exists, whatever the last sync said. A receipt counts only from the other side of the
    /// chat that the message is in; a read one is a delivered one too. A message that has a receipt was taken by the
    /// network, even if its session has not stored that yet.
    #[expect(clippy::too_many_lines, reason = "one statement")]
    pub async fn write(&self, connection: &mut PgConnection) -> Result<Outcome<'a>, DbError> {
        let Self { sessions, chats, messages, receipts, settled } = self;
        let fingerprints: Vec<Vec<u8>> = column(messages, |message| message.fingerprint.to_vec());
        let rows = sqlx::query!(
            r#"WITH session AS MATERIALIZED (
                SELECT w.place - 1 AS place, w.account_id, w.counter_id, w.chats, w.ticks, c.seq, c.now,
                       c.owner IS NOT DISTINCT FROM w.owner AND c.fence = w.fence AS held
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
                     WITH ORDINALITY AS w (account_id, counter_id, owner, fence, chats, ticks, place)
                CROSS JOIN LATERAL (
                    SELECT id, ctid AS version, seq, owner, fence, greatest(statement_timestamp(), stored_at) AS now
                    FROM account_counter WHERE id = w.counter_id FOR NO KEY UPDATE SKIP LOCKED) c
                CROSS JOIN LATERAL (
                    SELECT 1 FROM account_counter b WHERE b.id = c.id AND b.ctid = c.version LIMIT 1) same
             ), locked AS MATERIALIZED (
                SELECT w.place - 1 AS place, w.session, w.peer_id, h.id
                FROM unnest($7::bigint[], $8::bigint[]) WITH ORDINALITY AS w (session, peer_id, place)
                JOIN session s ON s.place = w.session AND s.held
                CROSS JOIN LATERAL (
                    SELECT id FROM chat WHERE account_id = s.account_id AND peer_id = w.peer_id
                    FOR NO KEY UPDATE SKIP LOCKED) h
             ), ready AS MATERIALIZED (
                SELECT s.* FROM session s
                LEFT JOIN (SELECT session, count(*) AS chats FROM locked GROUP BY session) l ON l.session = s.place
                WHERE s.held AND s.chats = coalesce(l.chats, 0)
             ), given AS MATERIALIZED (
                SELECT i.*, CASE WHEN blocked IS NULL AND twin IS NULL THEN nextval('message_id_seq') END AS id FROM (
                    SELECT m.*, r.account_id, l.id AS chat_id, b.found AS blocked, t.found AS twin,
                           r.now + m.tick * interval '1 microsecond' AS stored_at
                    FROM unnest($9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[],
                                $15::text[], $16::bytea[], $17::timestamptz[], $18::jsonb[], $19::text[], $20::jsonb[],
                                $21::jsonb[]) WITH ORDINALITY
                         AS m (session, chat, tick, sender, network_id, type, text, fingerprint, sent_at, details, kind,
                               payload, introduction, place)
                    JOIN ready r ON r.place = m.session JOIN locked l ON l.place = m.chat
                    LEFT JOIN LATERAL (
                        SELECT true AS found FROM block
                        WHERE account_id = r.account_id AND peer_id = m.sender AND m.sender = l.peer_id LIMIT 1) b
                        ON true
                    LEFT JOIN LATERAL (
                        SELECT true AS found FROM message
                        WHERE account_id = r.account_id AND network_id = m.network_id AND chat_id = l.id
                          AND sender_peer_id IS NOT DISTINCT FROM m.sender AND fingerprint = m.fingerprint LIMIT 1) t
                        ON true
                    ORDER BY m.place OFFSET 0) i
             ), new AS (
                INSERT INTO message (id, account_id, chat_id, network_id, sender_peer_id, state, type, text, fingerprint,
                                     stored_at, sent_at, details)
                OVERRIDING SYSTEM VALUE
                SELECT id, account_id, chat_id, network_id, sender,
                       CASE WHEN sender IS NULL THEN 'sent' ELSE 'received' END, type, text, fingerprint, stored_at,
                       sent_at, details
                FROM given WHERE id IS NOT NULL
             ), touched AS (
                UPDATE chat h SET last_message_id = n.last, last_at = n.at, unread = unread + n.received,
                       peer_wrote = peer_wrote OR n.received > 0
                FROM (SELECT chat_id, max(id) AS last, max(stored_at) AS at, count(sender)::integer AS received
                      FROM given WHERE id IS NOT NULL GROUP BY chat_id) n
                WHERE h.id = n.chat_id
             ), found AS (
                UPDATE contact c SET exists_there = true FROM given g
                WHERE g.introduction IS NOT NULL AND g.blocked IS NULL
                  AND c.account_id = g.account_id AND c.peer_id = g.sender AND NOT c.exists_there
                RETURNING g.session, g.tick, g.introduction
             ), receipted AS MATERIALIZED (
                SELECT m.id, w.session, w.tick, w.payload, w.read, m.state = 'queued' AS was_queued,
                       m.delivered_at IS NULL AS newly_delivered, r.now + w.tick * interval '1 microsecond' AS at
                FROM unnest($22::bigint[], $23::bigint[], $24::bigint[], $25::text[], $26::boolean[], $27::jsonb[])
                     AS w (session, tick, peer_id, network_id, read, payload)
                JOIN ready r ON r.place = w.session
                CROSS JOIN LATERAL (
                    SELECT id FROM chat WHERE account_id = r.account_id AND peer_id = w.peer_id LIMIT 1) h
                CROSS JOIN LATERAL (
                    SELECT * FROM message
                    WHERE account_id = r.account_id AND network_id = w.network_id OFFSET 0) m
                WHERE m.chat_id = h.id AND m.sender_peer_id IS NULL AND m.state <> 'failed'
                  AND (m.delivered_at IS NULL OR (w.read AND m.read_at IS NULL))
             ), marked AS MATERIALIZED (
                SELECT id, session, tick, payload, read, was_queued, newly_delivered, at, NULL AS failure FROM receipted
                UNION ALL
                SELECT o.message_id, w.session, w.tick, w.payload, false, true, false, NULL, w.failure
                FROM unnest($28::bigint[], $29::bigint[], $30::bigint[], $31::text[], $32::jsonb[])
                     AS w (session, tick, message_id, failure, payload)
                JOIN ready r ON r.place = w.session
                CROSS JOIN LATERAL (
                    SELECT message_id FROM outbox
                    WHERE message_id = w.message_id AND account_id = r.account_id LIMIT 1) o
                WHERE NOT o.message_id = ANY(ARRAY(SELECT id FROM receipted))
             ), taken AS (
                DELETE FROM outbox WHERE message_id = ANY(ARRAY(SELECT id FROM marked WHERE was_queued))
             ), changed AS (
                UPDATE message m SET state = CASE WHEN k.failure IS NULL THEN 'sent' ELSE 'failed' END,
                       failure = k.failure,
                       sent_at = CASE WHEN k.failure IS NULL THEN coalesce(m.sent_at, clock_timestamp()) END,
                       delivered_at = coalesce(m.delivered_at, k.at),
                       read_at = CASE WHEN k.read THEN coalesce(m.read_at, k.at) ELSE m.read_at END
                FROM marked k WHERE m.id = k.id
             ), told AS MATERIALIZED (
                SELECT t.*, row_number() OVER (PARTITION BY session ORDER BY tick) AS nth FROM (
                    SELECT session, tick + 2 AS tick, kind, payload FROM given
                    WHERE id IS NOT NULL AND kind IS NOT NULL
                    UNION ALL
                    SELECT session, tick + 1, 'contact.updated', introduction FROM found
                    UNION ALL
                    SELECT session, tick + 1, CASE WHEN failure IS NULL THEN 'message.sent' ELSE 'message.failed' END,
                           payload FROM marked WHERE was_queued
                    UNION ALL
                    SELECT session, tick + 2, 'message.delivered', payload FROM marked WHERE newly_delivered
                    UNION ALL
                    SELECT session, tick + 3, 'message.read', payload FROM marked WHERE read) t
             ), event AS (
                INSERT INTO event (counter_id, seq, at, kind, payload)
                SELECT r.counter_id, r.seq + t.nth, r.now + t.tick * interval '1 microsecond', t.kind, t.payload
                FROM told t JOIN ready r ON r.place = t.session
             ), counted AS (
                UPDATE account_counter c
                SET seq = r.seq + coalesce(n.count, 0), stored_at = r.now + r.ticks * interval '1 microsecond'
                FROM ready r LEFT JOIN (SELECT session, count(*) FROM told GROUP BY session) n ON n.session = r.place
                WHERE c.id = r.counter_id RETURNING r.place, c.seq, c.stored_at)
             SELECT s.place AS "session!", s.held AS "held!", n.seq, n.stored_at AS now, NULL::bigint AS message,
                    NULL::bigint AS id
             FROM session s LEFT JOIN counted n ON n.place = s.place
             UNION ALL SELECT session, true, NULL, NULL, place, id FROM given
             WHERE blocked OR (details IS NOT NULL AND id IS NOT NULL)"#,
            &column(sessions, |session| session.lease.account.0),
            &column(sessions, |session| session.lease.counter.0),
            &column(sessions, |session| session.lease.process.0),
            &column(sessions, |session| session.lease.fence),
            &column(sessions, |session| session.chats),
            &column(sessions, |session| session.ticks),
            &column(chats, |(session, _)| *session),
            &column(chats, |(_, peer)| peer.0),
            &column(messages, |message| message.session),
            &column(messages, |message| message.chat),
            &column(messages, |message| message.tick),
            &column(messages, |message| message.sender.map(|sender| sender.0)) as &[Option<i64>],
            &column(messages, |message| message.network_id) as &[&str],
            &column(messages, |message| message.content.letter()) as &[&str],
            &column(messages, |message| message.content.text()) as &[Option<&str>],
            &fingerprints,
            &column(messages, |message| message.sent_at),
            &column(messages, |message| details(message.content)) as &[Option<Value>],
            &column(messages, |message| message.event.as_ref().map(Event::kind)) as &[Option<&str>],
            &column(messages, |message| message.event.as_ref().map(Event::payload)) as &[Option<Value>],
            &self.introductions() as &[Option<Value>],
            &column(receipts, |receipt| receipt.session),
            &column(receipts, |receipt| receipt.tick),
            &column(receipts, |receipt| receipt.peer.0),
            &column(receipts, |receipt| receipt.network_id) as &[&str],
            &column(receipts, |receipt| receipt.read),
            &column(receipts, ReceiptRow::payload),
            &column(settled, |(session, ..)| *session),
            &column(settled, |(_, tick, _)| *tick),
            &column(settled, |(.., settled)| settled.message.0),
            &column(settled, |(.., settled)| settled.how.failure()) as &[Option<&str>],
            &column(settled, |(.., settled)| settled.event().payload())
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut outcome = Outcome { verdicts: HashMap::new(), dropped: Vec::new(), files: Vec::new() };
        let at = |place: i64| usize::try_from(place).unwrap_or(usize::MAX);
        for row in rows {
            let Some(SessionRow { lease, .. }) = sessions.get(at(row.session)) else { continue };
            if let Some(message) = row.message.and_then(|place| messages.get(at(place - 1))) {
                match (row.id, message.sender, message.content.file()) {
                    (Some(id), _, Some(file)) => outcome.files.push((MessageId(id), *lease, file)),
                    (None, Some(sender), _) => outcome.dropped.push((*lease, sender, message.network_id)),
                    (Some(_), _, None) | (None, None, _) => {}
                }
                continue;
            }
            let verdict = match (row.held, row.seq, row.now) {
                (_, Some(seq), Some(now)) => Verdict::Written { seq, now },
                (true, ..) => Verdict::Held,
                (false, ..) => Verdict::Fenced,
            };
            outcome.verdicts.insert(*lease, verdict);
        }
        Ok(outcome)
    }
}

/// One transaction of sessions' writes, of one statement if that will do. No answer for those that it leaves out.
pub(super) async fn attempt(
    db: &Db,
    writes: &[&Leased],
    locking: Locking,
) -> Result<Vec<DbOutcome<Dropped>>, DbError> {
    let writes: Vec<(&Lease, &SessionWrite)> = writes.iter().map(|one| (&one.lease, &one.write)).collect();
    let outcome = if locking == Locking::Free && writes.iter().all(|(_, what)| what.is_plain()) {
        let (mut connection, checkout) = db.checkout().await?;
        let outcome = Rows::of(&writes, Part::All).write(&mut connection).await?;
        checkout.put_back(connection);
        outcome
    } else {
        let mut tx = Tx::begin(db).await?;
        let outcome = tx.write_of_sessions(&writes, locking).await?;
        // Of what may not be done nothing is left, no new chat either.
        if writes.iter().any(|(lease, _)| outcome.admits(lease)) {
            tx.commit().await?;
        }
        outcome
    };
    for (lease, what) in admitted(&writes, &outcome) {
        match what {
            SessionWrite::PublishState { .. } => db.notifications().wake(topic::session(lease.account)),
            // What it told of has to be fetched.
            SessionWrite::Ingest { batch, .. } if batch.iter().any(has_remote_file) => {
                db.notifications().wake_here(&topic::files(lease.account));
            }
            SessionWrite::Settle(_) | SessionWrite::Ingest { .. } => {}
        }
        db.notifications().wake(topic::journal(lease.counter));
    }
    Ok(writes.into_iter().map(|(lease, what)| answer(lease, what, &outcome)).collect())
}

/// Those of the writes that are done.
fn admitted<'w>(
    writes: &[(&'w Lease, &'w SessionWrite)],
    outcome: &Outcome<'_>,
) -> Vec<(&'w Lease, &'w SessionWrite)> {
    writes.iter().copied().filter(|(lease, _)| outcome.admits(lease)).collect()
}

fn answer(lease: &Lease, what: &SessionWrite, outcome: &Outcome<'_>) -> DbOutcome<Dropped> {
    match (outcome.of(lease), what) {
        (Verdict::Held, _) => DbOutcome::Deferred,
        (Verdict::Fenced, _) => DbOutcome::Failed(DbError::Fenced),
        (Verdict::Written { .. }, SessionWrite::Ingest { .. }) if !outcome.dropped.is_empty() => {
            let of_lease = outcome.dropped.iter().filter(|(of, ..)| of == lease);
            let dropped = of_lease.map(|(_, peer, id)| (*peer, (*id).to_owned()));
            DbOutcome::Done(dropped.collect())
        }
        (Verdict::Written { .. }, _) => DbOutcome::Done(Vec::new()),
    }
}

impl Tx {
    /// Writes those whose locks are there: the messages first, then what may be about them.
    async fn write_of_sessions<'w>(
        &mut self,
        writes: &[(&'w Lease, &'w SessionWrite)],
        locking: Locking,
    ) -> Result<Outcome<'w>, DbError> {
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

impl SessionWrite {
    /// Whether [`sessions`] has a place for all of it, and none of it is about a message that comes with it.
    fn is_plain(&self) -> bool {
        match self {
            Self::Settle(settled) => settled.iter().all(|one| one.how.is_final()),
            Self::Ingest { batch, resume_point } => resume_point.is_none() && batch.iter().all(is_plain),
            Self::PublishState { .. } => false,
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
        InboundKind::Profile(ProfileNews::Photo(Visible::Value(photo))) => photo.is_some(),
        _ => false,
    }
}

impl SessionWrite {
    /// With whom the account has to have a chat for this.
    fn chats(&self) -> Vec<PeerId> {
        match self {
            Self::Settle(_) | Self::PublishState { .. } => Vec::new(),
            Self::Ingest { batch, .. } => {
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
