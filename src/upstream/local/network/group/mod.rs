//! Groups of the local network: who is in one, who may change it, and what its members are told.
//!
//! A change locks the group's row first and its subscribers after, so that changes of one group follow each other and
//! a subscriber who goes is in no group any more.

mod batches;
mod rows;
mod rules;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{LocalNet, Subscriber};
use crate::db::DbError;
use crate::domain::{GroupChangeKind, PhoneNumber, Photo};
use crate::secrets;
use crate::upstream::local::network::Tx;
use crate::upstream::local::network::columns::number_of;
use rules::{Decision, NewPhoto, decide};

pub(super) use crate::upstream::local::network::group::batches::GroupLines;
pub use crate::upstream::local::network::group::batches::{GroupDelivery, GroupSend};
pub use rules::{GroupEdit, GroupMember, GroupRefusal, LARGEST_GROUP, LocalChange};

/// What a group's address begins with: no number does.
const PREFIX: &str = "group:";
/// How often a subscriber who goes may be added to another group meanwhile.
const ROUNDS: usize = 10;

/// A group as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where it is reached.
    pub address: String,
    /// Its subject.
    pub subject: String,
    /// Who made it.
    pub creator: PhoneNumber,
    /// When.
    pub created_at: DateTime<Utc>,
    /// Grows by one with each change.
    pub revision: i64,
    /// Its photo.
    pub photo: Option<Photo>,
    /// Who is in it, in the order in which they came.
    pub members: Vec<GroupMember>,
}

/// What each member of a group is told of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupNews {
    /// The group's address.
    pub group: String,
    /// The revision that the change made.
    pub revision: i64,
    /// The subject after it.
    pub subject: String,
    /// What changed.
    pub changes: Vec<LocalChange>,
}

/// Writes news in the words of `upstream::local`.
pub type WriteNews = fn(&GroupNews) -> Value;

/// Whether an address is a group's.
#[must_use]
pub fn is_group(address: &str) -> bool {
    address.starts_with(PREFIX)
}

impl LocalNet {
    /// Makes a group of these and its creator, who is its admin. The same operation makes one group.
    pub async fn create_group(
        &self,
        by: &Subscriber,
        operation: &str,
        subject: &str,
        members: &[PhoneNumber],
        write: WriteNews,
    ) -> Result<Result<Group, GroupRefusal>, DbError> {
        let mut seen = BTreeSet::new();
        let members: Vec<&PhoneNumber> = std::iter::once(&by.number)
            .chain(members)
            .filter(|number| seen.insert(PhoneNumber::clone(number)))
            .collect();
        if members.len() > LARGEST_GROUP {
            return Ok(Err(GroupRefusal::TooLarge));
        }
        let mut tx = Tx::begin(&self.db).await?;
        let new = format!("{PREFIX}{}", secrets::random_id());
        if let Some(address) = tx.done_before(operation, &new).await? {
            return Ok(tx.local_group(&address).await?.ok_or(GroupRefusal::NotInGroup));
        }
        if !tx.is_logged_in(by).await? {
            return Ok(Err(GroupRefusal::LoggedOut));
        }
        let missing = tx.missing_subscribers(seen.iter()).await?;
        if !missing.is_empty() {
            return Ok(Err(GroupRefusal::NoSubscribers(missing)));
        }
        sqlx::query!(
            "INSERT INTO localnet_group (address, subject, creator, revision) VALUES ($1, $2, $3, 0)",
            new,
            subject,
            by.number.as_str()
        )
        .execute(&mut *tx.inner)
        .await?;
        let decision = Decision {
            added: members.into_iter().cloned().collect(),
            promoted: vec![by.number.clone()],
            changes: vec![LocalChange { kind: GroupChangeKind::Created, who: Vec::new() }],
            ..Decision::default()
        };
        tx.change_local_group(&new, by, &decision, write).await?;
        let group = tx.local_group(&new).await?;
        tx.commit().await?;
        Ok(group.ok_or(GroupRefusal::NotInGroup))
    }

    /// Does what a member wants of a group; the same operation once.
    pub async fn change_group(
        &self,
        by: &Subscriber,
        operation: &str,
        address: &str,
        wish: &GroupEdit,
        write: WriteNews,
    ) -> Result<Result<Group, GroupRefusal>, DbError> {
        let mut tx = Tx::begin(&self.db).await?;
        if !tx.lock_local_group(address).await? {
            return Ok(Err(GroupRefusal::NotInGroup));
        }
        let group = tx.local_group(address).await?;
        let Some(group) = group else { return Ok(Err(GroupRefusal::NotInGroup)) };
        if tx.done_before(operation, address).await?.is_some() {
            return Ok(Ok(group));
        }
        if !tx.is_logged_in(by).await? {
            return Ok(Err(GroupRefusal::LoggedOut));
        }
        let decision = match decide(&group.members, &by.number, wish) {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let missing = tx.missing_subscribers(decision.added.iter()).await?;
        if !missing.is_empty() {
            return Ok(Err(GroupRefusal::NoSubscribers(missing)));
        }
        let same_subject = decision.subject.as_deref() == Some(&group.subject);
        if decision.changes.is_empty() || same_subject || decision.photo == Some(NewPhoto(group.photo)) {
            tx.commit().await?;
            return Ok(Ok(group));
        }
        tx.change_local_group(address, by, &decision, write).await?;
        let group = tx.local_group(address).await?;
        tx.commit().await?;
        Ok(group.ok_or(GroupRefusal::NotInGroup))
    }

    /// A group at this revision or a later one.
    pub async fn group(&self, address: &str, revision: i64) -> Result<Option<Arc<Group>>, DbError> {
        let cache = &self.groups.snapshots;
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
    /// the same order. A mailbox that is full takes them too: one member who is away stops nobody.
    pub async fn send_to_group(
        &self,
        from: &Subscriber,
        group: &str,
        bodies: Vec<Value>,
    ) -> Result<GroupDelivery, DbError> {
        let send = GroupSend { from: from.clone(), group: group.to_owned(), bodies };
        self.groups.line_of(group).submit(send).await
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

    /// Begins a transaction in which a number has left all its groups, and nobody can add it to one: its subscriber's
    /// row, if there is one, is locked.
    pub(super) async fn leave_all_groups(
        &self,
        number: &PhoneNumber,
        write: WriteNews,
    ) -> Result<Tx, DbError> {
        for _ in 0..ROUNDS {
            let mut tx = Tx::begin(&self.db).await?;
            let locked: Vec<String> = sqlx::query_scalar!(
                "SELECT address FROM localnet_group
                 WHERE address IN (SELECT m.address FROM localnet_member m WHERE m.number = $1)
                 ORDER BY address FOR NO KEY UPDATE",
                number.as_str()
            )
            .fetch_all(&mut *tx.inner)
            .await?;
            let incarnation = sqlx::query_scalar!(
                "SELECT incarnation FROM localnet_subscriber WHERE number = $1 FOR UPDATE",
                number.as_str()
            )
            .fetch_optional(&mut *tx.inner)
            .await?;
            let Some(incarnation) = incarnation else { return Ok(tx) };
            let subscriber = Subscriber { number: number.clone(), incarnation };
            let member_of = sqlx::query_scalar!(
                "SELECT address FROM localnet_member WHERE number = $1 ORDER BY address",
                number.as_str()
            )
            .fetch_all(&mut *tx.inner)
            .await?;
            if member_of.iter().any(|address| !locked.contains(address)) {
                continue;
            }
            for address in member_of {
                let members = tx.local_group(&address).await?.map(|group| group.members).unwrap_or_default();
                if let Ok(decision) = decide(&members, number, &GroupEdit::Leave) {
                    tx.change_local_group(&address, &subscriber, &decision, write).await?;
                }
            }
            return Ok(tx);
        }
        // Whoever asked tries again.
        Err(DbError::from(sqlx::Error::PoolTimedOut))
    }
}
