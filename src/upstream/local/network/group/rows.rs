//! The rows of one group, read and written under its lock.

use std::collections::BTreeSet;

use super::rules::{Decision, NewPhoto};
use super::{Group, GroupNews, WriteNews, batches};
use crate::db::DbError;
use crate::domain::{PhoneNumber, Photo};
use crate::upstream::local::network::LocalNet;
use crate::upstream::local::network::columns::number_of;
use crate::upstream::local::network::{Subscriber, Tx, mailbox_topic};

impl LocalNet {
    /// Forgets up to `batch` operations of the local network that nobody asks for again: commands are, under a key, for
    /// a day. Returns how many.
    pub async fn prune_operations(&self, batch: i64) -> Result<u64, DbError> {
        let deleted = sqlx::query!(
            "DELETE FROM localnet_operation WHERE id IN (
                SELECT id FROM localnet_operation WHERE at < clock_timestamp() - interval '2 days' LIMIT $1)",
            batch
        )
        .execute(self.db.pool())
        .await?;
        Ok(deleted.rows_affected())
    }
}

impl Tx {
    /// False: there is no such group.
    pub(super) async fn lock_local_group(&mut self, address: &str) -> Result<bool, DbError> {
        let locked = sqlx::query_scalar!(
            "SELECT address FROM localnet_group WHERE address = $1 FOR NO KEY UPDATE",
            address
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(locked.is_some())
    }

    pub(super) async fn local_group(&mut self, address: &str) -> Result<Option<Group>, DbError> {
        Ok(batches::read_groups(&mut *self.inner, &[address.to_owned()]).await?.pop())
    }

    /// Notes that an operation is done to a group; if it was before, says to which.
    pub(super) async fn done_before(
        &mut self,
        operation: &str,
        address: &str,
    ) -> Result<Option<String>, DbError> {
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

    /// Those that are no subscribers; the others stay until the transaction ends.
    pub(super) async fn missing_subscribers(
        &mut self,
        numbers: impl Iterator<Item = &PhoneNumber>,
    ) -> Result<Vec<PhoneNumber>, DbError> {
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
    pub(super) async fn change_local_group(
        &mut self,
        address: &str,
        by: &Subscriber,
        decision: &Decision,
        write: WriteNews,
    ) -> Result<(), DbError> {
        let texts = |numbers: &[PhoneNumber]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (photo, preview) = Photo::hashes(decision.photo.and_then(|NewPhoto(photo)| photo));
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
            "WITH receiver AS MATERIALIZED (
                SELECT number FROM localnet_subscriber WHERE number = ANY(ARRAY(
                    SELECT m.number FROM localnet_member m WHERE m.address = $1 UNION SELECT unnest($4::text[])))
                ORDER BY number FOR KEY SHARE)
             INSERT INTO localnet_stanza (recipient, sender, stanza) SELECT number, $2, $3 FROM receiver
             ORDER BY number RETURNING recipient",
            address,
            by.number.as_str(),
            write(&news),
            &texts(&decision.gone)
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for recipient in told {
            self.notify_on_commit(mailbox_topic(&number_of(&recipient)?));
        }
        Ok(())
    }
}
