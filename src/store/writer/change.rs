//! What sessions write that comes too seldom for [`super::sessions`], in one transaction.

use std::collections::BTreeMap;

use chrono::Duration;

use super::SessionWrite;
use super::group_receipts::NewGroupReceipt;
use super::locks::Locked;
use super::postponed::Postponed;
use super::profiles::Profiles;
use super::published::Published;
use crate::db::DbError;
use crate::domain::{AccountId, ChatId, Event, Lease};
use crate::store::{Inbound, InboundKind, Tx};

/// What is to be written.
#[derive(Default)]
pub(super) struct Change<'a> {
    group_receipts: Vec<NewGroupReceipt<'a>>,
    postponed: Vec<Postponed>,
    others: Vec<(&'a Lease, &'a Inbound)>,
    profiles: Profiles<'a>,
    resume_points: Vec<(AccountId, &'a [u8])>,
    published: Vec<Published<'a>>,
}

impl<'a> Change<'a> {
    /// Adds a write whose locks are there.
    pub fn add(&mut self, lease: &'a Lease, what: &'a SessionWrite) {
        match what {
            SessionWrite::Settle(_) => self.postponed.extend(Postponed::of(lease, what)),
            SessionWrite::Ingest { batch, resume_point } => {
                for item in batch {
                    self.add_inbound(lease, item);
                }
                if let Some(point) = resume_point {
                    self.resume_points.push((lease.account, point));
                }
            }
            SessionWrite::PublishState { state, reason } => {
                self.published.push(Published { lease, state: *state, reason: reason.as_deref() });
            }
        }
    }

    fn add_inbound(&mut self, lease: &'a Lease, item: &'a Inbound) {
        match &item.what {
            InboundKind::Receipt { network_id, kind } => {
                self.group_receipts.extend(item.participant.as_ref().map(|participant| NewGroupReceipt {
                    lease,
                    group: item.peer.id,
                    public_id: &item.peer.public_id,
                    participant: participant.id,
                    network_id,
                    kind: *kind,
                }));
            }
            InboundKind::Nickname(_) | InboundKind::Profile(_) => self.profiles.add(lease, item),
            InboundKind::ReadElsewhere { .. }
            | InboundKind::Undecryptable { .. }
            | InboundKind::Group { .. } => self.others.push((lease, item)),
            InboundKind::Message { .. } => {}
        }
    }
}

impl Tx {
    /// Writes it all, after the messages that it may refer to.
    pub(super) async fn apply(&mut self, change: Change<'_>, locked: &mut Locked) -> Result<(), DbError> {
        self.store_group_receipts(&change.group_receipts, locked).await?;
        self.postpone(&change.postponed).await?;
        for (lease, item) in change.others {
            self.ingest_other(lease, item, locked).await?;
        }
        self.store_profiles(change.profiles, locked).await?;
        self.store_resume_points(&change.resume_points).await?;
        self.store_published(&change.published, locked).await
    }

    /// What comes too seldom to be worth a table at a time.
    async fn ingest_other(
        &mut self,
        lease: &Lease,
        item: &Inbound,
        locked: &mut Locked,
    ) -> Result<(), DbError> {
        let chat = item.peer.public_id.clone();
        if let InboundKind::Group { revision, subject, changes } = &item.what {
            return self.ingest_group(lease, &item.peer, (*revision, subject), changes, locked).await;
        }
        let Some(journal) = locked.journal(lease.counter) else { return Ok(()) };
        match &item.what {
            InboundKind::ReadElsewhere { network_id } => {
                let row = sqlx::query!(
                    "SELECT h.id, m.stored_at FROM message m JOIN chat h ON h.id = m.chat_id
                     WHERE m.account_id = $1 AND h.account_id = $1 AND h.peer_id = $2 AND m.network_id = $3
                     ORDER BY m.stored_at DESC LIMIT 1",
                    lease.account.0,
                    item.peer.id.0,
                    network_id
                )
                .fetch_optional(&mut *self.inner)
                .await?;
                let Some(row) = row else { return Ok(()) };
                // The bound is exclusive; stored times are whole microseconds.
                let before = row.stored_at + Duration::microseconds(1);
                let messages =
                    self.read_up_to(lease.account, ChatId(row.id), Some(before), false, journal).await?;
                if messages > 0 {
                    journal.record(Event::ChatRead { chat, messages });
                }
            }
            InboundKind::Undecryptable { network_id } => {
                journal.record(Event::MessageUndecryptable { chat, id: network_id.clone() });
            }
            InboundKind::Message { .. }
            | InboundKind::Receipt { .. }
            | InboundKind::Nickname(_)
            | InboundKind::Profile(_)
            | InboundKind::Group { .. } => {}
        }
        Ok(())
    }

    async fn store_resume_points(&mut self, points: &[(AccountId, &[u8])]) -> Result<(), DbError> {
        // The last one of an account counts.
        let points: BTreeMap<i64, &[u8]> =
            points.iter().map(|(account, point)| (account.0, *point)).collect();
        if points.is_empty() {
            return Ok(());
        }
        let (accounts, points): (Vec<i64>, Vec<Vec<u8>>) =
            points.into_iter().map(|(account, point)| (account, point.to_vec())).unzip();
        sqlx::query!(
            "UPDATE account a SET resume_point = p.point FROM unnest($1::bigint[], $2::bytea[]) AS p (id, point)
             WHERE a.id = p.id",
            &accounts,
            &points
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
