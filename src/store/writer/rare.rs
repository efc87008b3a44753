//! Writes of sessions that come too seldom for ingest_1, in the same transaction after it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::group_receipts::NewGroupReceipt;
use super::locks::LockedJournals;
use super::profiles::ProfileUpdates;
use crate::db::DbError;
use crate::domain::{
    AccountId, ChatId, Event, FailureReason, Lease, MessageId, PeerId, ReceiptKind, SessionState,
};
use crate::store::message::read::ReadMark;
use crate::store::{ChatNews, Peer, Tx};

/// The writes, by the queries that store them.
#[derive(Default)]
pub(super) struct Rare<'a> {
    pub group_receipts: Vec<NewGroupReceipt<'a>>,
    pub profiles: ProfileUpdates<'a>,
    pub chats: Vec<(&'a Lease, &'a Peer, &'a ChatNews)>,
    /// The ids that networks chose for messages.
    pub remote_ids: Vec<(AccountId, MessageId, &'a str)>,
    /// Messages to try again after a pause.
    pub postponed: Vec<(AccountId, MessageId, Duration)>,
    pub resume_points: Vec<(AccountId, &'a [u8])>,
    pub published: Vec<(&'a Lease, SessionState, Option<&'a str>)>,
}

impl<'a> Rare<'a> {
    pub fn is_empty(&self) -> bool {
        let Self { group_receipts, profiles, chats, remote_ids, postponed, resume_points, published } = self;
        group_receipts.is_empty()
            && profiles.is_empty()
            && chats.is_empty()
            && remote_ids.is_empty()
            && postponed.is_empty()
            && resume_points.is_empty()
            && published.is_empty()
    }

    pub fn add_group_receipt(
        &mut self,
        lease: &'a Lease,
        group: &'a Peer,
        participant: PeerId,
        network_id: &'a str,
        kind: ReceiptKind,
    ) {
        let (group, public_id) = (group.id, group.public_id.as_str());
        self.group_receipts.push(NewGroupReceipt { lease, group, public_id, participant, network_id, kind });
    }
}

impl Tx {
    pub(super) async fn write_rare(
        &mut self,
        rare: Rare<'_>,
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        self.store_group_receipts(&rare.group_receipts, journals).await?;
        self.store_remote_ids(&rare.remote_ids).await?;
        self.postpone(&rare.postponed).await?;
        for (lease, peer, news) in rare.chats {
            self.store_chat_news(lease, peer, news, journals).await?;
        }
        self.store_profiles(rare.profiles, journals).await?;
        self.store_resume_points(&rare.resume_points).await?;
        self.store_published(&rare.published, journals).await
    }

    async fn store_chat_news(
        &mut self,
        lease: &Lease,
        peer: &Peer,
        news: &ChatNews,
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        match news {
            ChatNews::ReadElsewhere { network_id } => {
                self.read_elsewhere(lease, peer, network_id, journals).await
            }
            ChatNews::Undecryptable { network_id } => {
                if let Some(journal) = journals.of(lease.counter) {
                    let (chat, id) = (peer.public_id.clone(), network_id.clone());
                    journal.record(Event::MessageUndecryptable { chat, id });
                }
                Ok(())
            }
            ChatNews::Refused { network_id, reason } => {
                self.refuse(lease, peer, network_id, *reason, journals).await
            }
            ChatNews::Accepted { network_id, remote_id } => {
                self.accept_by_network(lease, peer, network_id, remote_id, journals).await
            }
            ChatNews::Answered { network_id, remote_id, message } => {
                self.correct_references(lease.account, peer, (network_id, remote_id), message).await
            }
            ChatNews::Group { revision, subject, changes } => {
                self.ingest_group(lease, peer, (*revision, subject), changes, journals).await
            }
        }
    }

    /// Fails a message that the network had taken, unless somebody has it already.
    async fn refuse(
        &mut self,
        lease: &Lease,
        peer: &Peer,
        network_id: &str,
        reason: FailureReason,
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        let Some(journal) = journals.of(lease.counter) else { return Ok(()) };
        let failed = sqlx::query!(
            "UPDATE message m SET state = 'failed', failure = $4
             FROM (SELECT id FROM chat WHERE account_id = $1 AND peer_id = $2 LIMIT 1) h
             CROSS JOIN LATERAL (
                 SELECT ctid AS place, chat_id FROM message
                 WHERE account_id = $1 AND network_id = $3 AND sender_peer_id IS NULL OFFSET 0) old
             WHERE m.ctid = old.place AND old.chat_id = h.id AND m.state = 'sent'
               AND m.delivered_at IS NULL AND m.read_at IS NULL",
            lease.account.0,
            peer.id.0,
            network_id,
            reason.name()
        )
        .execute(&mut *self.inner)
        .await?;
        if failed.rows_affected() > 0 {
            let (chat, id) = (peer.public_id.clone(), network_id.to_owned());
            journal.record(Event::MessageFailed { chat, id, reason });
        }
        Ok(())
    }

    /// Marks the messages of a chat read up to one of them, without receipts: the other device sent them.
    async fn read_elsewhere(
        &mut self,
        lease: &Lease,
        peer: &Peer,
        network_id: &str,
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        let Some(journal) = journals.of(lease.counter) else { return Ok(()) };
        let row = sqlx::query!(
            "SELECT h.id, m.stored_at
             FROM (SELECT id FROM chat WHERE account_id = $1 AND peer_id = $2 LIMIT 1) h
             CROSS JOIN LATERAL (
                 SELECT chat_id, stored_at FROM message WHERE account_id = $1 AND network_id = $3 OFFSET 0) m
             WHERE m.chat_id = h.id ORDER BY m.stored_at DESC LIMIT 1",
            lease.account.0,
            peer.id.0,
            network_id
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        let Some(row) = row else { return Ok(()) };
        // The bound is exclusive; stored times are whole microseconds.
        let before = row.stored_at + TimeDelta::microseconds(1);
        let mark = ReadMark { chat: ChatId(row.id), before, announce: false };
        self.mark_slice(lease.account, &peer.public_id, &mark, false, journal).await?;
        Ok(())
    }

    async fn postpone(&mut self, postponed: &[(AccountId, MessageId, Duration)]) -> Result<(), DbError> {
        if postponed.is_empty() {
            return Ok(());
        }
        let accounts: Vec<i64> = postponed.iter().map(|(account, ..)| account.0).collect();
        let messages: Vec<i64> = postponed.iter().map(|(_, message, _)| message.0).collect();
        let seconds: Vec<f64> = postponed.iter().map(|(.., pause)| pause.as_secs_f64()).collect();
        sqlx::query!(
            "UPDATE outbox o SET attempts = attempts + 1,
                    retry_at = clock_timestamp() + make_interval(secs => l.seconds)
             FROM unnest($1::bigint[], $2::bigint[], $3::float8[]) AS l (account_id, message_id, seconds)
             CROSS JOIN LATERAL (
                 SELECT ctid AS place FROM outbox
                 WHERE message_id = l.message_id AND account_id = l.account_id LIMIT 1) old
             WHERE o.ctid = old.place",
            &accounts,
            &messages,
            &seconds
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// The last one of an account counts.
    async fn store_resume_points(&mut self, points: &[(AccountId, &[u8])]) -> Result<(), DbError> {
        let points: BTreeMap<i64, &[u8]> =
            points.iter().map(|(account, point)| (account.0, *point)).collect();
        if points.is_empty() {
            return Ok(());
        }
        let (accounts, points): (Vec<i64>, Vec<Vec<u8>>) =
            points.into_iter().map(|(account, point)| (account, point.to_vec())).unzip();
        sqlx::query!(
            "UPDATE account a SET resume_point = p.point FROM unnest($1::bigint[], $2::bytea[]) AS p (id, point)
             CROSS JOIN LATERAL (SELECT ctid AS place FROM account WHERE id = p.id LIMIT 1) old
             WHERE a.ctid = old.place",
            &accounts,
            &points
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// The last state of an account counts; each that clients care about is an event.
    async fn store_published(
        &mut self,
        published: &[(&Lease, SessionState, Option<&str>)],
        journals: &mut LockedJournals,
    ) -> Result<(), DbError> {
        let mut last: BTreeMap<i64, (SessionState, Option<&str>)> = BTreeMap::new();
        for (lease, state, reason) in published {
            last.insert(lease.account.0, (*state, *reason));
            if state.is_event()
                && let Some(journal) = journals.of(lease.counter)
            {
                let reason = reason.map(str::to_owned);
                journal.record(Event::SessionChanged { state: *state, reason });
            }
        }
        if last.is_empty() {
            return Ok(());
        }
        let accounts: Vec<i64> = last.keys().copied().collect();
        let states: Vec<&str> = last.values().map(|(state, _)| state.name()).collect();
        let reasons: Vec<Option<&str>> = last.values().map(|(_, reason)| *reason).collect();
        let attempts: Vec<Option<i32>> = last
            .values()
            .map(|(state, _)| state.attempt().and_then(|attempt| i32::try_from(attempt).ok()))
            .collect();
        let until: Vec<Option<DateTime<Utc>>> = last.values().map(|(state, _)| state.until()).collect();
        sqlx::query!(
            "UPDATE account a SET session_state = p.state, session_since = clock_timestamp(),
                    session_reason = p.reason, session_attempt = p.attempt, session_until = p.until
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::timestamptz[])
                  AS p (id, state, reason, attempt, until)
             CROSS JOIN LATERAL (SELECT ctid AS place FROM account WHERE id = p.id LIMIT 1) old
             WHERE a.ctid = old.place",
            &accounts,
            &states as &[&str],
            &reasons as &[Option<&str>],
            &attempts as &[Option<i32>],
            &until as &[Option<DateTime<Utc>>]
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
