//! Registration and removal of subscribers.

use super::columns::number_of;
use super::watches::AffectedWatches;
use super::{ATTEMPTS, LocalNet, NetTx, Subscriber, mailbox_topic};
use crate::db::DbError;
use crate::domain::PhoneNumber;
use crate::secrets;
use crate::upstream::local::stanza::Stanza;

impl LocalNet {
    /// Registers a number. An earlier subscriber of this number leaves its groups and is removed with its mailbox; its
    /// watchers and the members of its groups are notified.
    pub async fn register(&self, number: &PhoneNumber) -> Result<Subscriber, DbError> {
        let incarnation = secrets::random_id();
        self.replace(number, Some(&incarnation)).await?;
        Ok(Subscriber { number: number.clone(), incarnation })
    }

    /// Removes the number's subscriber, if there is one, as [`Self::register`] removes an earlier one.
    pub async fn unregister(&self, number: &PhoneNumber) -> Result<(), DbError> {
        self.replace(number, None).await
    }

    async fn replace(&self, number: &PhoneNumber, incarnation: Option<&str>) -> Result<(), DbError> {
        let mut attempt = 1;
        loop {
            match self.try_to_replace(number, incarnation).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                replaced => return replaced,
            }
        }
    }

    async fn try_to_replace(&self, number: &PhoneNumber, incarnation: Option<&str>) -> Result<(), DbError> {
        let mut tx = self.leave_all_groups(number).await?;
        tx.remove_subscriber(number).await?;
        if let Some(incarnation) = incarnation {
            tx.insert_subscriber(number, incarnation).await?;
        }
        tx.notify_on_commit(mailbox_topic(number));
        tx.commit().await
    }
}

impl NetTx {
    /// Deletes a subscriber with its mailbox and lists, and notifies the watchers that know anything of it.
    async fn remove_subscriber(&mut self, number: &PhoneNumber) -> Result<(), DbError> {
        let found = sqlx::query_scalar!(
            "SELECT number FROM localnet_subscriber WHERE number = $1 FOR UPDATE",
            number.as_str()
        )
        .fetch_optional(&mut *self.inner)
        .await?;
        if found.is_none() {
            return Ok(());
        }
        self.lock_watches(AffectedWatches { number, watched: true, watching: true }).await?;
        let watchers = sqlx::query_scalar!(
            "WITH reset AS (
                UPDATE localnet_watch SET told = '{}' WHERE watched = $1 AND watcher <> $1 AND told <> '{}'
                RETURNING watcher)
             INSERT INTO localnet_stanza (recipient, sender, stanza) SELECT watcher, $1, $2 FROM reset
             RETURNING recipient",
            number.as_str(),
            Stanza::Gone.to_json()
        )
        .fetch_all(&mut *self.inner)
        .await?;
        sqlx::query!("DELETE FROM localnet_subscriber WHERE number = $1", number.as_str())
            .execute(&mut *self.inner)
            .await?;
        for watcher in watchers {
            self.notify_on_commit(mailbox_topic(&number_of(&watcher)?));
        }
        Ok(())
    }

    async fn insert_subscriber(&mut self, number: &PhoneNumber, incarnation: &str) -> Result<(), DbError> {
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
