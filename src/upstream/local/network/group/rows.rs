//! The rows of one group, read and written under its lock.

use std::collections::BTreeSet;

use super::batches;
use crate::db::DbError;
use crate::domain::{PhoneNumber, Photo};
use crate::upstream::group_rules::{Decision, GroupPhotoEdit};
use crate::upstream::local::network::columns::number_of;
use crate::upstream::local::network::{LocalNet, NetTx, Subscriber, mailbox_topic};
use crate::upstream::local::stanza::{GroupNews, Stanza};
use crate::upstream::{Address, Group};

impl LocalNet {
    /// Deletes at most `batch` operations that nobody repeats any more: a command can be repeated for a day, under its
    /// idempotency key. Returns their count.
    pub async fn prune_operations(&self, batch: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM localnet_operation WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM localnet_operation WHERE at < statement_timestamp() - interval '2 days'
                ORDER BY at LIMIT $1))",
            batch
        )
        .execute(self.db.pool())
        .await?;
        Ok(deleted.rows_affected())
    }
}

impl NetTx {
    /// False: the group does not exist.
    pub(super) async fn lock_local_group(&mut self, address: &Address) -> Result<bool, DbError> {
        let locked = sqlx::query_scalar!(
            "SELECT address FROM localnet_group WHERE address = $1 FOR NO KEY UPDATE",
            address.0
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(locked.is_some())
    }

    pub(super) async fn local_group(&mut self, address: &Address) -> Result<Option<Group>, DbError> {
        Ok(batches::read_groups(&mut *self.inner, std::slice::from_ref(&address.0)).await?.pop())
    }

    /// Records that an operation applies to this group. `Some`: it was recorded before, for the group returned.
    pub(super) async fn operation_target(
        &mut self,
        operation: &str,
        address: &Address,
    ) -> Result<Option<Address>, DbError> {
        let recorded = sqlx::query!(
            "INSERT INTO localnet_operation (id, address) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            operation,
            address.0
        )
        .execute(&mut *self.inner)
        .await?;
        if recorded.rows_affected() == 1 {
            return Ok(None);
        }
        let target = sqlx::query_scalar!("SELECT address FROM localnet_operation WHERE id = $1", operation)
            .fetch_optional(&mut *self.inner)
            .await?;
        Ok(target.map(Address))
    }

    pub(super) async fn is_logged_in(&mut self, subscriber: &Subscriber) -> Result<bool, DbError> {
        let current = sqlx::query_scalar!(
            "SELECT number FROM localnet_subscriber WHERE number = $1 AND incarnation = $2 FOR KEY SHARE",
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(current.is_some())
    }

    /// The addresses that `by` cannot add to a group, of these: they are no subscribers, or have blocked it. The others
    /// cannot be removed until the transaction ends.
    pub(super) async fn not_addable(
        &mut self,
        by: &Subscriber,
        addresses: impl Iterator<Item = &Address>,
    ) -> Result<Vec<Address>, DbError> {
        let addresses: Vec<&Address> = addresses.filter(|address| address.0 != by.number.as_str()).collect();
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<&str> = addresses.iter().map(|address| address.0.as_str()).collect();
        let mut addable: BTreeSet<String> = sqlx::query_scalar!(
            "SELECT number FROM localnet_subscriber WHERE number = ANY($1) ORDER BY number FOR KEY SHARE",
            &wanted as &[&str]
        )
        .fetch_all(&mut *self.inner)
        .await?
        .into_iter()
        .collect();
        let blocking = sqlx::query_scalar!(
            "SELECT owner FROM localnet_block WHERE owner = ANY($1) AND blocked = $2",
            &wanted as &[&str],
            by.number.as_str()
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for owner in blocking {
            addable.remove(&owner);
        }
        Ok(addresses.into_iter().filter(|address| !addable.contains(&address.0)).cloned().collect())
    }

    /// Writes a change of a group that is locked or new, and notifies its members and those that it removes.
    pub(super) async fn change_local_group(
        &mut self,
        address: &Address,
        by: &PhoneNumber,
        decision: &Decision,
    ) -> Result<(), DbError> {
        let texts =
            |addresses: &[Address]| addresses.iter().map(|address| address.0.clone()).collect::<Vec<_>>();
        let (photo, preview) = Photo::hashes(decision.photo.and_then(|GroupPhotoEdit(photo)| photo));
        let row = sqlx::query!(
            "UPDATE localnet_group SET revision = revision + 1, subject = coalesce($2, subject),
                    photo = CASE WHEN $3 THEN $4 ELSE photo END,
                    photo_preview = CASE WHEN $3 THEN $5 ELSE photo_preview END
             WHERE address = $1 RETURNING revision, subject",
            address.0,
            decision.subject,
            decision.photo.is_some(),
            photo,
            preview
        )
        .fetch_one(&mut *self.inner)
        .await?;
        sqlx::query!(
            "DELETE FROM localnet_member WHERE address = $1 AND number = ANY($2)",
            address.0,
            &texts(&decision.removed)
        )
        .execute(&mut *self.inner)
        .await?;
        sqlx::query!(
            "INSERT INTO localnet_member (address, number, position)
             SELECT $1, n.number, l.last + n.place::integer
             FROM unnest($2::text[]) WITH ORDINALITY AS n (number, place),
                  (SELECT coalesce(max(position), 0) AS last FROM localnet_member WHERE address = $1) AS l
             ORDER BY n.place",
            address.0,
            &texts(&decision.added)
        )
        .execute(&mut *self.inner)
        .await?;
        let (promoted, demoted) = (texts(&decision.promoted), texts(&decision.demoted));
        sqlx::query!(
            "UPDATE localnet_member SET admin = number = ANY($2)
             WHERE address = $1 AND (number = ANY($2) OR number = ANY($3))",
            address.0,
            &promoted,
            &demoted
        )
        .execute(&mut *self.inner)
        .await?;
        let news = GroupNews {
            group: address.0.clone(),
            revision: row.revision,
            subject: row.subject,
            changes: decision.changes.clone(),
        };
        let recipients = sqlx::query_scalar!(
            "WITH receiver AS MATERIALIZED (
                SELECT number FROM localnet_subscriber WHERE number = ANY(ARRAY(
                    SELECT m.number FROM localnet_member m WHERE m.address = $1 UNION SELECT unnest($4::text[])))
                ORDER BY number FOR KEY SHARE)
             INSERT INTO localnet_stanza (recipient, sender, stanza) SELECT number, $2, $3 FROM receiver
             ORDER BY number RETURNING recipient",
            address.0,
            by.as_str(),
            Stanza::Group(news).to_json(),
            &texts(&decision.removed)
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for recipient in recipients {
            self.notify_on_commit(mailbox_topic(&number_of(&recipient)?));
        }
        Ok(())
    }
}
