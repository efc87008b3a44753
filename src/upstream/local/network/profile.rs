//! Changes of a subscriber's profile and lists, and their notification to watchers.
//!
//! The lock order: groups, the subscriber that changes or the watchers that are notified (so that none is deleted meanwhile),
//! watches.

use super::columns::photo_of;
use super::view::View;
use super::watches::Side;
use super::{ATTEMPTS, LocalNet, NetTx, Subscriber};
use crate::db::DbError;
use crate::domain::{Audience, BlobHash, PhoneNumber, Photo, Privacy};

/// A change of a subscriber. One that changes nothing has no effect.
#[derive(Clone, Copy, Debug)]
pub enum SubscriberChange<'a> {
    Nickname(&'a str),
    StatusMessage(&'a str),
    Photo(Option<Photo>),
    Online(bool),
    Privacy(Privacy),
    /// Replaces the contact list.
    Contacts(&'a [PhoneNumber]),
    /// Replaces the block list.
    Blocked(&'a [PhoneNumber]),
    /// Replaces the list of watched subscribers. Unchanged, it still sends the updates that were skipped because the
    /// mailbox was full.
    Watches(&'a [PhoneNumber]),
}

impl SubscriberChange<'_> {
    /// The watches that it may affect.
    const fn affected(&self) -> &'static [Side] {
        match self {
            Self::Nickname(_)
            | Self::StatusMessage(_)
            | Self::Photo(_)
            | Self::Privacy(_)
            | Self::Contacts(_) => &[Side::Watchers],
            Self::Online(_) | Self::Blocked(_) => &[Side::Watchers, Side::Own],
            Self::Watches(_) => &[Side::Own],
        }
    }
}

impl LocalNet {
    /// Makes a change and notifies the affected watchers. A login that is no longer valid changes nothing.
    pub async fn change(&self, subscriber: &Subscriber, change: SubscriberChange<'_>) -> Result<(), DbError> {
        let mut attempt = 1;
        loop {
            match self.try_to_change(subscriber, change).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        // Also when nothing has changed: an earlier change may have been interrupted.
        self.notify_watchers(&subscriber.number).await
    }

    async fn try_to_change(
        &self,
        subscriber: &Subscriber,
        change: SubscriberChange<'_>,
    ) -> Result<(), DbError> {
        let mut tx = NetTx::begin(&self.db).await?;
        if tx.write_change(subscriber, change).await? {
            tx.record_change(&subscriber.number, change.affected()).await?;
        }
        tx.commit().await
    }

    /// Whether the file is the photo, or its preview, that the subscriber sees of a number now.
    pub async fn shows_photo(
        &self,
        number: &PhoneNumber,
        subscriber: &Subscriber,
        hash: &BlobHash,
    ) -> Result<bool, DbError> {
        let row = sqlx::query!(
            // In the order of the primary key, which no other index has.
            "SELECT w.told AS view, o.photo, o.photo_preview
             FROM (SELECT * FROM localnet_watch w WHERE (watched, watcher) >= ($1, $2)
                   ORDER BY watched, watcher LIMIT 1) w
             CROSS JOIN LATERAL (SELECT * FROM localnet_subscriber WHERE number = w.watched LIMIT 1) o
             CROSS JOIN LATERAL (SELECT incarnation FROM localnet_subscriber WHERE number = w.watcher LIMIT 1) s
             WHERE w.watched = $1 AND w.watcher = $2 AND s.incarnation = $3",
            number.as_str(),
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(row) = row else { return Ok(false) };
        let view: View = serde_json::from_value(row.view).unwrap_or_default();
        let photo = photo_of(row.photo, row.photo_preview)?;
        Ok(photo.is_some_and(|photo| view.shows(photo) && (photo.photo == *hash || photo.preview == *hash)))
    }

    pub async fn has_blocked(&self, owner: &PhoneNumber, blocked: &PhoneNumber) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM localnet_block WHERE owner = $1 AND blocked = $2) AS "blocked!""#,
            owner.as_str(),
            blocked.as_str()
        )
        .fetch_one(self.db.pool())
        .await?)
    }
}

impl NetTx {
    /// False: nothing changes, or the login is no longer valid.
    async fn write_change(
        &mut self,
        subscriber: &Subscriber,
        change: SubscriberChange<'_>,
    ) -> Result<bool, DbError> {
        let (number, incarnation) = (subscriber.number.as_str(), subscriber.incarnation.as_str());
        let statement = match change {
            SubscriberChange::Nickname(nickname) => sqlx::query!(
                "UPDATE localnet_subscriber SET nickname = $3
                 WHERE number = $1 AND incarnation = $2 AND nickname <> $3",
                number,
                incarnation,
                nickname
            ),
            SubscriberChange::StatusMessage(text) => sqlx::query!(
                "UPDATE localnet_subscriber SET status_message = $3
                 WHERE number = $1 AND incarnation = $2 AND status_message <> $3",
                number,
                incarnation,
                text
            ),
            SubscriberChange::Photo(photo) => {
                let (photo, preview) = Photo::hashes(photo);
                sqlx::query!(
                    "UPDATE localnet_subscriber SET photo = $3, photo_preview = $4
                     WHERE number = $1 AND incarnation = $2
                       AND (photo, photo_preview) IS DISTINCT FROM ($3::bytea, $4::bytea)",
                    number,
                    incarnation,
                    photo,
                    preview
                )
            }
            SubscriberChange::Online(online) => sqlx::query!(
                "UPDATE localnet_subscriber SET online = $3,
                        last_seen = CASE WHEN $3 THEN last_seen ELSE clock_timestamp() END
                 WHERE number = $1 AND incarnation = $2 AND online <> $3",
                number,
                incarnation,
                online
            ),
            SubscriberChange::Privacy(privacy) => {
                let (status_message, photo) = (privacy.status_message.name(), privacy.photo.name());
                sqlx::query!(
                    "UPDATE localnet_subscriber SET privacy_status_message = $3, privacy_photo = $4,
                            privacy_last_seen = $5
                     WHERE number = $1 AND incarnation = $2
                       AND (privacy_status_message, privacy_photo, privacy_last_seen) <> ($3, $4, $5)",
                    number,
                    incarnation,
                    status_message,
                    photo,
                    Audience::name(privacy.last_seen)
                )
            }
            SubscriberChange::Contacts(contacts) => return self.change_contacts(subscriber, contacts).await,
            SubscriberChange::Blocked(blocked) => return self.change_blocked(subscriber, blocked).await,
            SubscriberChange::Watches(watched) => return self.change_watches(subscriber, watched).await,
        };
        Ok(statement.execute(&mut *self.inner).await?.rows_affected() == 1)
    }

    async fn change_contacts(
        &mut self,
        subscriber: &Subscriber,
        contacts: &[PhoneNumber],
    ) -> Result<bool, DbError> {
        if !self.lock_subscriber(subscriber).await? {
            return Ok(false);
        }
        let contacts: Vec<&str> = contacts.iter().map(PhoneNumber::as_str).collect();
        let changed = sqlx::query_scalar!(
            r#"WITH removed AS (
                DELETE FROM localnet_contact
                WHERE owner = $1 AND contact NOT IN (SELECT unnest($2::text[])) RETURNING contact
             ), added AS (
                INSERT INTO localnet_contact (owner, contact) SELECT $1, c.number FROM unnest($2::text[]) AS c (number)
                ON CONFLICT DO NOTHING RETURNING contact)
             SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM added) AS "changed!""#,
            subscriber.number.as_str(),
            &contacts as &[&str]
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(changed > 0)
    }

    async fn change_blocked(
        &mut self,
        subscriber: &Subscriber,
        blocked: &[PhoneNumber],
    ) -> Result<bool, DbError> {
        if !self.lock_subscriber(subscriber).await? {
            return Ok(false);
        }
        let blocked: Vec<&str> = blocked.iter().map(PhoneNumber::as_str).collect();
        let changed = sqlx::query_scalar!(
            r#"WITH removed AS (
                DELETE FROM localnet_block
                WHERE owner = $1 AND blocked NOT IN (SELECT unnest($2::text[])) RETURNING blocked
             ), added AS (
                INSERT INTO localnet_block (owner, blocked) SELECT $1, b.number FROM unnest($2::text[]) AS b (number)
                ON CONFLICT DO NOTHING RETURNING blocked)
             SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM added) AS "changed!""#,
            subscriber.number.as_str(),
            &blocked as &[&str]
        )
        .fetch_one(&mut *self.inner)
        .await?;
        Ok(changed > 0)
    }

    /// False: the login is no longer valid. Unchanged watches count as changed, see [`SubscriberChange::Watches`].
    async fn change_watches(
        &mut self,
        subscriber: &Subscriber,
        watched: &[PhoneNumber],
    ) -> Result<bool, DbError> {
        if !self.lock_subscriber(subscriber).await? {
            return Ok(false);
        }
        let watched: Vec<&str> = watched.iter().map(PhoneNumber::as_str).collect();
        sqlx::query!(
            "WITH ended AS (
                UPDATE localnet_watch SET active = false
                WHERE watcher = $1 AND active AND watched NOT IN (SELECT unnest($2::text[])))
             INSERT INTO localnet_watch (watched, watcher) SELECT w.number, $1 FROM unnest($2::text[]) AS w (number)
             ORDER BY w.number
             ON CONFLICT (watched, watcher) DO UPDATE SET active = true WHERE NOT localnet_watch.active",
            subscriber.number.as_str(),
            &watched as &[&str]
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(true)
    }

    /// False: the login is no longer valid.
    async fn lock_subscriber(&mut self, subscriber: &Subscriber) -> Result<bool, DbError> {
        let found = sqlx::query_scalar!(
            "SELECT number FROM localnet_subscriber WHERE number = $1 AND incarnation = $2 FOR NO KEY UPDATE",
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        Ok(found.is_some())
    }
}
