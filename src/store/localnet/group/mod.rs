//! Groups of the local network: who is in one, who may change it, and what its members are told.
//!
//! A change locks the group's row first and its subscribers after, so that changes of one group follow each other and
//! a subscriber who goes is in no group any more.

mod lines;
mod rules;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{LocalNet, Subscriber};
use crate::domain::{GroupChangeKind, PhoneNumber, Photo};
use crate::secrets;
use crate::store::account::number_of;
use crate::store::photo::hashes;
use crate::store::{StoreError, Topic, Tx};
use rules::{Decision, NewPhoto, decide};

pub(super) use lines::GroupLines;
pub use lines::{GroupDelivery, GroupSend};
pub use rules::{GroupMember, GroupRefusal, GroupWish, LARGEST_GROUP, LocalChange};

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
    ///
    /// # Errors
    /// When a query fails; then nothing changed, or with a lost connection nobody knows.
    pub async fn create_group(
        &self,
        by: &Subscriber,
        operation: &str,
        subject: &str,
        members: &[PhoneNumber],
        write: WriteNews,
    ) -> Result<Result<Group, GroupRefusal>, StoreError> {
        let mut seen = BTreeSet::new();
        let members: Vec<&PhoneNumber> = std::iter::once(&by.number)
            .chain(members)
            .filter(|number| seen.insert(PhoneNumber::clone(number)))
            .collect();
        if members.len() > LARGEST_GROUP {
            return Ok(Err(GroupRefusal::TooLarge));
        }
        let mut tx = self.store.begin().await?;
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
    ///
    /// # Errors
    /// When a query fails; then nothing changed, or with a lost connection nobody knows.
    pub async fn change_group(
        &self,
        by: &Subscriber,
        operation: &str,
        address: &str,
        wish: &GroupWish,
        write: WriteNews,
    ) -> Result<Result<Group, GroupRefusal>, StoreError> {
        let mut tx = self.store.begin().await?;
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
    ///
    /// # Errors
    /// When the query fails.
    pub async fn group(&self, address: &str, revision: i64) -> Result<Option<Arc<Group>>, StoreError> {
        let cache = &self.groups.snapshots;
        if let Some(group) = cache.get(address).filter(|group| group.revision >= revision) {
            return Ok(Some(group));
        }
        let group = self.groups.read.ask(&self.store, address.to_owned()).await?;
        if let Some(group) = &group {
            cache.insert(address.to_owned(), group.clone());
        }
        Ok(group)
    }

    /// Puts messages into the mailboxes of a group's other members, in order; all members find a group's messages in
    /// the same order. A mailbox that is full takes them too: one member who is away stops nobody.
    ///
    /// # Errors
    /// When a query fails; then nothing was put anywhere.
    pub async fn send_to_group(
        &self,
        from: &Subscriber,
        group: &str,
        bodies: Vec<Value>,
    ) -> Result<GroupDelivery, StoreError> {
        let send = GroupSend { from: from.clone(), group: group.to_owned(), bodies };
        self.groups.line_of(group).ask(&self.store, send).await
    }

    /// The other members of a group, if the subscriber is in it.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn other_members(
        &self,
        subscriber: &Subscriber,
        group: &str,
    ) -> Result<Vec<PhoneNumber>, StoreError> {
        sqlx::query_scalar!(
            "SELECT m.number FROM localnet_member me
             JOIN localnet_subscriber s ON s.number = me.number AND s.incarnation = $3
             JOIN localnet_member m ON m.address = me.address AND m.number <> me.number
             WHERE me.address = $1 AND me.number = $2",
            group,
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_all(&self.store.pool)
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
    ) -> Result<Tx, StoreError> {
        for _ in 0..ROUNDS {
            let mut tx = self.store.begin().await?;
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
                if let Ok(decision) = decide(&members, number, &GroupWish::Leave) {
                    tx.change_local_group(&address, &subscriber, &decision, write).await?;
                }
            }
            return Ok(tx);
        }
        // Whoever asked tries again.
        Err(StoreError::from(sqlx::Error::PoolTimedOut))
    }
}

impl crate::store::Store {
    /// Forgets up to `batch` operations of the local network that nobody asks for again: commands are, under a key, for
    /// a day. Returns how many.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn prune_local_operations(&self, batch: i64) -> Result<u64, StoreError> {
        let deleted = sqlx::query!(
            "DELETE FROM localnet_operation WHERE id IN (
                SELECT id FROM localnet_operation WHERE at < clock_timestamp() - interval '2 days' LIMIT $1)",
            batch
        )
        .execute(&self.pool)
        .await?;
        Ok(deleted.rows_affected())
    }
}

impl Tx {
    /// False: there is no such group.
    async fn lock_local_group(&mut self, address: &str) -> Result<bool, StoreError> {
        let locked = sqlx::query_scalar!(
            "SELECT address FROM localnet_group WHERE address = $1 FOR NO KEY UPDATE",
            address
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(locked.is_some())
    }

    async fn local_group(&mut self, address: &str) -> Result<Option<Group>, StoreError> {
        Ok(lines::read_groups(&mut *self.inner, &[address.to_owned()]).await?.pop())
    }

    /// Notes that an operation is done to a group; if it was before, says to which.
    async fn done_before(&mut self, operation: &str, address: &str) -> Result<Option<String>, StoreError> {
        let noted = sqlx::query!(
            "INSERT INTO localnet_operation (id, address) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            operation,
            address
        )
        .execute(&mut *self.inner)
        .await?;
        if noted.rows_affected() == 1 {
            return Ok(None);
        }
        Ok(sqlx::query_scalar!("SELECT address FROM localnet_operation WHERE id = $1", operation)
            .fetch_optional(&mut *self.inner)
            .await?)
    }

    async fn is_logged_in(&mut self, subscriber: &Subscriber) -> Result<bool, StoreError> {
        let current = sqlx::query_scalar!(
            "SELECT number FROM localnet_subscriber WHERE number = $1 AND incarnation = $2 FOR KEY SHARE",
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(current.is_some())
    }

    /// Those that are no subscribers; the others stay until the transaction ends.
    async fn missing_subscribers(
        &mut self,
        numbers: impl Iterator<Item = &PhoneNumber>,
    ) -> Result<Vec<PhoneNumber>, StoreError> {
        let numbers: Vec<PhoneNumber> = numbers.cloned().collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<&str> = numbers.iter().map(PhoneNumber::as_str).collect();
        let there: BTreeSet<String> = sqlx::query_scalar!(
            "SELECT number FROM localnet_subscriber WHERE number = ANY($1) ORDER BY number FOR KEY SHARE",
            &wanted as &[&str]
        )
        .fetch_all(&mut *self.inner)
        .await?
        .into_iter()
        .collect();
        Ok(numbers.into_iter().filter(|number| !there.contains(number.as_str())).collect())
    }

    /// Writes a change of a group that is locked or new, and tells everybody who is or was in it.
    async fn change_local_group(
        &mut self,
        address: &str,
        by: &Subscriber,
        decision: &Decision,
        write: WriteNews,
    ) -> Result<(), StoreError> {
        let texts = |numbers: &[PhoneNumber]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (photo, preview) = hashes(decision.photo.and_then(|NewPhoto(photo)| photo));
        let row = sqlx::query!(
            "UPDATE localnet_group SET revision = revision + 1, subject = coalesce($2, subject),
                    photo = CASE WHEN $3 THEN $4 ELSE photo END,
                    photo_preview = CASE WHEN $3 THEN $5 ELSE photo_preview END
             WHERE address = $1 RETURNING revision, subject",
            address,
            decision.subject,
            decision.photo.is_some(),
            photo,
            preview
        )
        .fetch_one(&mut *self.inner)
        .await?;
        sqlx::query!(
            "DELETE FROM localnet_member WHERE address = $1 AND number = ANY($2)",
            address,
            &texts(&decision.gone)
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "INSERT INTO localnet_member (address, number, position)
             SELECT $1, n.number, l.last + n.place::integer
             FROM unnest($2::text[]) WITH ORDINALITY AS n (number, place),
                  (SELECT coalesce(max(position), 0) AS last FROM localnet_member WHERE address = $1) AS l
             ORDER BY n.place",
            address,
            &texts(&decision.added)
        )
        .execute(&mut *self.inner)
        .await?;
        let (promoted, demoted) = (texts(&decision.promoted), texts(&decision.demoted));
        sqlx::query!(
            "UPDATE localnet_member SET admin = number = ANY($2)
             WHERE address = $1 AND (number = ANY($2) OR number = ANY($3))",
            address,
            &promoted,
            &demoted
        )
        .execute(&mut *self.inner)
        .await?;
        let news = GroupNews {
            group: address.to_owned(),
            revision: row.revision,
            subject: row.subject,
            changes: decision.changes.clone(),
        };
        let told = sqlx::query_scalar!(
            "INSERT INTO localnet_stanza (recipient, sender, stanza)
             SELECT s.number, $2, $3 FROM (
                SELECT m.number FROM localnet_member m WHERE m.address = $1 UNION SELECT unnest($4::text[])) AS t
             JOIN localnet_subscriber s ON s.number = t.number
             ORDER BY s.number RETURNING recipient",
            address,
            by.number.as_str(),
            write(&news),
            &texts(&decision.gone)
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for recipient in told {
            self.concerns(Topic::Mailbox(number_of(&recipient)?));
        }
        Ok(())
    }
}
