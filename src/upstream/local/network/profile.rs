//! What subscribers show, and how those who watch them are told.
//!
//! A change is written first, then the watches that it may concern are locked, then it is looked anew at what each
//! watcher may see, and what is news in it is put into its mailbox. Of two changes that concern one watch, the later to
//! lock it sees both. Locks come in this order: groups, the subscriber that changes, those who watch it (so that none is
//! deleted meanwhile), watches.

use serde_json::Value;

use super::group::WriteNews;
use super::view::{News, View};
use super::watches::Concerned;
use super::{LocalNet, Subscriber};
use crate::db::DbError;
use crate::domain::{Audience, BlobHash, PhoneNumber, Photo, Privacy};
use crate::upstream::local::network::columns::{number_of, photo_of};
use crate::upstream::local::network::{Tx, mailbox_topic};

/// How often two changes may undo each other before one gives up.
const ATTEMPTS: usize = 4;

/// What others hear of a subscriber that leaves, in the words of `upstream::local`.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// Those who watch it.
    pub gone: Value,
    /// The other members of its groups.
    pub write: WriteNews,
}

/// How `upstream::local` writes news.
pub type Words = fn(&News) -> Value;

/// What a subscriber changes. Nothing happens when it is so already.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The name.
    Nickname(&'a str),
    /// The status message.
    StatusMessage(&'a str),
    /// The photo.
    Photo(Option<Photo>),
    /// Online or offline.
    Online(bool),
    /// Who may see what.
    Privacy(Privacy),
    /// Whom it has in its contact list.
    Contacts(&'a [PhoneNumber]),
    /// Whom it has blocked.
    Blocked(&'a [PhoneNumber]),
    /// Whom it watches. Nothing changed: what it was not told for want of room is told now.
    Watches(&'a [PhoneNumber]),
}

impl Change<'_> {
    fn concerns<'a>(&self, number: &'a PhoneNumber) -> Concerned<'a> {
        let (watched, watching) = match self {
            Self::Nickname(_)
            | Self::StatusMessage(_)
            | Self::Photo(_)
            | Self::Privacy(_)
            | Self::Contacts(_) => (true, false),
            Self::Online(_) | Self::Blocked(_) => (true, true),
            Self::Watches(_) => (false, true),
        };
        Concerned { number, watched, watching }
    }
}

impl LocalNet {
    /// Makes a change and tells all whom it concerns. Of a login that is no longer good nothing is changed.
    pub async fn change(
        &self,
        subscriber: &Subscriber,
        change: Change<'_>,
        words: Words,
    ) -> Result<(), DbError> {
        let mut attempt = 1;
        loop {
            match self.try_to_change(subscriber, change, words).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                told => return told,
            }
        }
    }

    async fn try_to_change(
        &self,
        subscriber: &Subscriber,
        change: Change<'_>,
        words: Words,
    ) -> Result<(), DbError> {
        let mut tx = Tx::begin(&self.db).await?;
        let concerned = change.concerns(&subscriber.number);
        let tells = match change {
            Change::Watches(watched) => {
                tx.change_watches(subscriber, watched).await? && tx.has_news(concerned).await?
            }
            change => tx.write_change(subscriber, change).await?,
        };
        if tells {
            tx.tell(concerned, words).await?;
        }
        tx.commit().await
    }

    /// Makes a subscriber anew: an earlier one of this number has left its groups and is gone with its mailbox, and those
    /// who watch it or were in a group with it are told.
    pub async fn register(&self, number: &PhoneNumber, leaving: &Leaving) -> Result<Subscriber, DbError> {
        let incarnation = crate::secrets::random_id();
        self.replace(number, Some(&incarnation), leaving).await?;
        Ok(Subscriber { number: number.clone(), incarnation })
    }

    /// Takes the number out of its groups and off the network, with its mailbox, and tells those who watch it or were in a
    /// group with it. No error when it is not there.
    pub async fn unregister(&self, number: &PhoneNumber, leaving: &Leaving) -> Result<(), DbError> {
        self.replace(number, None, leaving).await
    }

    async fn replace(
        &self,
        number: &PhoneNumber,
        incarnation: Option<&str>,
        leaving: &Leaving,
    ) -> Result<(), DbError> {
        let mut attempt = 1;
        loop {
            match self.try_to_replace(number, incarnation, leaving).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                replaced => return replaced,
            }
        }
    }

    async fn try_to_replace(
        &self,
        number: &PhoneNumber,
        incarnation: Option<&str>,
        leaving: &Leaving,
    ) -> Result<(), DbError> {
        let mut tx = self.leave_all_groups(number, leaving.write).await?;
        tx.take_off(number, &leaving.gone).await?;
        if let Some(incarnation) = incarnation {
            tx.put_on(number, incarnation).await?;
        }
        tx.notify_on_commit(mailbox_topic(number));
        tx.commit().await
    }

    /// Whether this is the photo, or its preview, that a number shows to the subscriber now.
    pub async fn shows_photo(
        &self,
        number: &PhoneNumber,
        subscriber: &Subscriber,
        hash: &BlobHash,
    ) -> Result<bool, DbError> {
        let row = sqlx::query!(
            "SELECT w.told, o.photo, o.photo_preview FROM localnet_watch w
             JOIN localnet_subscriber o ON o.number = w.watched
             JOIN localnet_subscriber s ON s.number = w.watcher
             WHERE w.watched = $1 AND w.watcher = $2 AND s.incarnation = $3",
            number.as_str(),
            subscriber.number.as_str(),
            subscriber.incarnation
        )
        .fetch_optional(self.db.pool())
        .await?;
        let Some(row) = row else { return Ok(false) };
        let told: View = serde_json::from_value(row.told).unwrap_or_default();
        let photo = photo_of(row.photo, row.photo_preview)?;
        Ok(photo.is_some_and(|photo| told.shows(photo) && (photo.photo == *hash || photo.preview == *hash)))
    }

    /// Whether one number has blocked another.
    pub async fn has_blocked(&self, who: &PhoneNumber, whom: &PhoneNumber) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM localnet_block WHERE owner = $1 AND blocked = $2) AS "blocked!""#,
            who.as_str(),
            whom.as_str()
        )
        .fetch_one(self.db.pool())
        .await?)
    }
}

impl Tx {
    /// False: it is so already, or the login is no longer good.
    async fn write_change(&mut self, subscriber: &Subscriber, change: Change<'_>) -> Result<bool, DbError> {
        let (number, incarnation) = (subscriber.number.as_str(), subscriber.incarnation.as_str());
        let statement = match change {
            Change::Nickname(nickname) => sqlx::query!(
                "UPDATE localnet_subscriber SET nickname = $3
                 WHERE number = $1 AND incarnation = $2 AND nickname <> $3",
                number,
                incarnation,
                nickname
            ),
            Change::StatusMessage(text) => sqlx::query!(
                "UPDATE localnet_subscriber SET status_message = $3
                 WHERE number = $1 AND incarnation = $2 AND status_message <> $3",
                number,
                incarnation,
                text
            ),
            Change::Photo(photo) => {
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
            Change::Online(online) => sqlx::query!(
                "UPDATE localnet_subscriber SET online = $3,
                        last_seen = CASE WHEN $3 THEN last_seen ELSE clock_timestamp() END
                 WHERE number = $1 AND incarnation = $2 AND online <> $3",
                number,
                incarnation,
                online
            ),
            Change::Privacy(privacy) => {
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
            Change::Contacts(contacts) => return self.change_contacts(subscriber, contacts).await,
            Change::Blocked(blocked) => return self.change_blocked(subscriber, blocked).await,
            Change::Watches(watched) => return self.change_watches(subscriber, watched).await,
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
                DELETE FROM localnet_contact WHERE owner = $1 AND NOT contact = ANY($2) RETURNING contact
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
                DELETE FROM localnet_block WHERE owner = $1 AND NOT blocked = ANY($2) RETURNING blocked
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

    /// False: the login is no longer good.
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
                UPDATE localnet_watch SET active = false WHERE watcher = $1 AND active AND NOT watched = ANY($2))
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

    /// False: the login is no longer good.
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

    /// Deletes a subscriber with all that it had, and tells those who were told anything of it.
    async fn take_off(&mut self, number: &PhoneNumber, gone: &Value) -> Result<(), DbError> {
        let found = sqlx::query_scalar!(
            "SELECT number FROM localnet_subscriber WHERE number = $1 FOR UPDATE",
            number.as_str()
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if found.is_none() {
            return Ok(());
        }
        self.lock_watches(Concerned { number, watched: true, watching: true }).await?;
        let told = sqlx::query_scalar!(
            "WITH told AS (
                UPDATE localnet_watch SET told = '{}' WHERE watched = $1 AND watcher <> $1 AND told <> '{}'
                RETURNING watcher)
             INSERT INTO localnet_stanza (recipient, sender, stanza) SELECT watcher, $1, $2 FROM told
             RETURNING recipient",
            number.as_str(),
            gone
        )
        .fetch_all(&mut *self.inner)
        .await?;
        sqlx::query!("DELETE FROM localnet_subscriber WHERE number = $1", number.as_str())
            .execute(&mut *self.inner)
            .await?;
        for watcher in told {
            self.notify_on_commit(mailbox_topic(&number_of(&watcher)?));
        }
        Ok(())
    }

    async fn put_on(&mut self, number: &PhoneNumber, incarnation: &str) -> Result<(), DbError> {
        sqlx::query!(
            "INSERT INTO localnet_subscriber (number, incarnation) VALUES ($1, $2)
             ON CONFLICT (number) DO UPDATE SET incarnation = excluded.incarnation",
            number.as_str(),
            incarnation
        )
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
