//! Groups: their members, messages and changes.
//!
//! A change locks the group's row first and its subscribers' rows after it, so that changes of one group follow each
//! other and a subscriber that is removed is in no group afterwards.

mod batches;
mod rows;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::columns::number_of;
use super::{LocalNet, NetTx, Subscriber};
use crate::db::DbError;
use crate::domain::{GroupChangeKind, PhoneNumber};
use crate::secrets;
use crate::upstream::group_rules::{Decision, GroupPhotoEdit, decide};
use crate::upstream::local::stanza::Stanza;
use crate::upstream::{Address, Failure, Group, GroupChange, GroupEdit, GroupFailure};
use batches::GroupSend;

pub(super) use batches::GroupBatchers;
pub use batches::GroupDelivery;

/// Members of a group at the most.
pub const LARGEST_GROUP: usize = 1_024;

/// The beginning of a group's address. No number begins like this.
const PREFIX: &str = "group:";
/// Attempts at removing a subscriber from its groups while others add it to more.
const LEAVE_ATTEMPTS: usize = 10;

#[must_use]
pub fn is_group(address: &str) -> bool {
    address.starts_with(PREFIX)
}

impl LocalNet {
    /// Creates a group of these members and its creator, who is its admin. The same operation creates one group.
    pub async fn create_group(
        &self,
        by: &Subscriber,
        operation: &str,
        subject: &str,
        members: &[Address],
    ) -> Result<Result<Group, GroupFailure>, DbError> {
        let creator = address_of(by);
        let mut seen = BTreeSet::new();
        let members: Vec<Address> = std::iter::once(&creator)
            .chain(members)
            .filter(|address| seen.insert(Address::clone(address)))
            .cloned()
            .collect();
        if members.len() > LARGEST_GROUP {
            return Ok(Err(GroupFailure::TooLarge));
        }
        let mut tx = NetTx::begin(&self.db).await?;
        let new = Address(format!("{PREFIX}{}", secrets::random_id()));
        if let Some(address) = tx.operation_target(operation, &new).await? {
            return Ok(tx.local_group(&address).await?.ok_or(GroupFailure::NotInGroup));
        }
        if !tx.is_logged_in(by).await? {
            return Ok(Err(logged_out()));
        }
        let refused = tx.not_addable(by, members.iter()).await?;
        if !refused.is_empty() {
            return Ok(Err(GroupFailure::CannotAdd(refused)));
        }
        sqlx::query!(
            "INSERT INTO localnet_group (address, subject, creator, revision) VALUES ($1, $2, $3, 0)",
            new.0,
            subject,
            by.number.as_str()
        )
        .execute(&mut *tx.inner)
        .await?;
        let decision = Decision {
            added: members,
            changes: vec![GroupChange {
                kind: GroupChangeKind::Created,
                who: Vec::new(),
                by: Some(creator.clone()),
            }],
            promoted: vec![creator],
            ..Decision::default()
        };
        tx.change_local_group(&new, &by.number, &decision).await?;
        let group = tx.local_group(&new).await?;
        tx.commit().await?;
        Ok(group.ok_or(GroupFailure::NotInGroup))
    }

    /// Changes a group at a member's request; the same operation changes it once.
    pub async fn change_group(
        &self,
        by: &Subscriber,
        operation: &str,
        address: &Address,
        edit: &GroupEdit,
    ) -> Result<Result<Group, GroupFailure>, DbError> {
        let mut tx = NetTx::begin(&self.db).await?;
        if !tx.lock_local_group(address).await? {
            return Ok(Err(GroupFailure::NotInGroup));
        }
        let group = tx.local_group(address).await?;
        let Some(group) = group else { return Ok(Err(GroupFailure::NotInGroup)) };
        if tx.operation_target(operation, address).await?.is_some() {
            return Ok(Ok(group));
        }
        if !tx.is_logged_in(by).await? {
            return Ok(Err(logged_out()));
        }
        let decision = match decide(&group.members, &address_of(by), edit, LARGEST_GROUP) {
            Ok(decision) => decision,
            Err(failure) => return Ok(Err(failure)),
        };
        let refused = tx.not_addable(by, decision.added.iter()).await?;
        if !refused.is_empty() {
            return Ok(Err(GroupFailure::CannotAdd(refused)));
        }
        let same_subject = decision.subject.as_deref() == Some(&group.subject);
        if decision.changes.is_empty() || same_subject || decision.photo == Some(GroupPhotoEdit(group.photo))
        {
            tx.commit().await?;
            return Ok(Ok(group));
        }
        tx.change_local_group(address, &by.number, &decision).await?;
        let group = tx.local_group(address).await?;
        tx.commit().await?;
        Ok(group.ok_or(GroupFailure::NotInGroup))
    }

    /// The addresses that a subscriber cannot add to a group, of these.
    pub async fn not_addable(&self, by: &Subscriber, addresses: &[Address]) -> Result<Vec<Address>, DbError> {
        NetTx::begin(&self.db).await?.not_addable(by, addresses.iter()).await
    }

    /// A group at this revision or a later one.
    pub async fn group(&self, address: &str, revision: i64) -> Result<Option<Arc<Group>>, DbError> {
        let cache = &self.groups.cache;
        if let Some(group) = cache.get(address).filter(|group| group.revision >= revision) {
            return Ok(Some(group));
        }
        let group = self.groups.read.submit(address.to_owned()).await?;
        if let Some(group) = &group {
            cache.insert(address.to_owned(), group.clone());
        }
        Ok(group)
    }

    /// Puts messages into the mailboxes of a group's other members, in order; all members find a group's messages in
    /// the same order. A full mailbox takes them too: one absent member must not block the group.
    pub async fn send_to_group(
        &self,
        from: &Subscriber,
        group: &str,
        stanzas: Vec<Stanza>,
    ) -> Result<GroupDelivery, DbError> {
        let send = GroupSend { from: from.clone(), group: group.to_owned(), stanzas };
        self.groups.send_batcher(group).submit(send).await
    }

    /// The other members of a group, if the subscriber is in it.
    pub async fn other_members(
        &self,
        subscriber: &Subscriber,
        group: &str,
    ) -> Result<Vec<PhoneNumber>, DbError> {
        sqlx::query_scalar!(
            "SELECT m.number FROM localnet_member me
             JOIN localnet_subscriber s ON s.number = me.number AND s.incarnation = $3
             JOIN localnet_member m ON m.address = me.address AND m.number <> me.number
             WHERE me.address = $1 AND me.number = $2",
            group,
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_all(self.db.pool())
        .await?
        .iter()
        .map(|number| number_of(number))
        .collect()
    }

    /// Removes a number from one of its groups. False: it is in none.
    pub(super) async fn leave_a_group(&self, number: &PhoneNumber) -> Result<bool, DbError> {
        let group = sqlx::query_scalar!(
            "SELECT address FROM (
                SELECT number, address FROM localnet_member WHERE (number, address) >= ($1, '')
                ORDER BY number, address LIMIT 1) m
             WHERE number = $1",
            number.as_str()
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(address) = group.map(Address) else { return Ok(false) };
        let mut tx = NetTx::begin(&self.db).await?;
        if tx.lock_local_group(&address).await? {
            tx.leave_local_group(&address, number).await?;
            tx.commit().await?;
        }
        Ok(true)
    }

    /// Begins a transaction in which a number has left all its groups. Its subscriber's row, if there is one, is locked,
    /// so that nobody can add it to a group.
    pub(super) async fn leave_all_groups(&self, number: &PhoneNumber) -> Result<NetTx, DbError> {
        for _ in 0..LEAVE_ATTEMPTS {
            let mut tx = NetTx::begin(&self.db).await?;
            let locked: Vec<String> = sqlx::query_scalar!(
                "SELECT address FROM localnet_group
                 WHERE address = ANY(ARRAY(SELECT m.address FROM localnet_member m WHERE m.number = $1))
                 ORDER BY address FOR NO KEY UPDATE",
                number.as_str()
            )
            .fetch_all(&mut *tx.inner)
            .await?;
            let subscriber = sqlx::query_scalar!(
                "SELECT number FROM localnet_subscriber WHERE number = $1 FOR UPDATE",
                number.as_str()
            )
            .fetch_optional(&mut *tx.inner)
            .await?;
            if subscriber.is_none() {
                return Ok(tx);
            }
            let member_of = sqlx::query_scalar!(
                "SELECT address FROM localnet_member WHERE number = $1 ORDER BY address",
                number.as_str()
            )
            .fetch_all(&mut *tx.inner)
            .await?;
            if member_of.iter().any(|address| !locked.contains(address)) {
                continue;
            }
            for address in member_of.into_iter().map(Address) {
                tx.leave_local_group(&address, number).await?;
            }
            return Ok(tx);
        }
        // The caller takes this for a network that is unavailable and repeats its request.
        Err(DbError::from(sqlx::Error::PoolTimedOut))
    }
}

impl NetTx {
    /// Removes a number from a group that is locked.
    async fn leave_local_group(&mut self, address: &Address, number: &PhoneNumber) -> Result<(), DbError> {
        let members = self.local_group(address).await?.map(|group| group.members).unwrap_or_default();
        match decide(&members, &Address(number.to_string()), &GroupEdit::Leave, LARGEST_GROUP) {
            Ok(decision) => self.change_local_group(address, number, &decision).await,
            Err(_) => Ok(()),
        }
    }
}

fn address_of(subscriber: &Subscriber) -> Address {
    Address(subscriber.number.to_string())
}

fn logged_out() -> GroupFailure {
    Failure::Retry("logged_out").into()
}
