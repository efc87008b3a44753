//! Registration and removal of subscribers.
//!
//! What a subscriber leaves grows with its use. It is deleted in slices before the subscriber: its login ends first, then
//! it leaves its groups one by one, its watchers are notified, and its mailbox and lists are emptied. When that is
//! interrupted, the next registration or removal of the number goes on.

use super::columns::number_of;
use super::{ATTEMPTS, LocalNet, NetTx, SLICE, Subscriber, mailbox_topic};
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
        self.empty(number).await?;
        let mut attempt = 1;
        loop {
            match self.try_to_replace(number, incarnation).await {
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                replaced => return replaced,
            }
        }
    }

    /// Ends a subscriber's login and deletes what it has, in slices.
    async fn empty(&self, number: &PhoneNumber) -> Result<(), DbError> {
        let ended = sqlx::query!(
            "UPDATE localnet_subscriber SET incarnation = $2 WHERE number = $1",
            number.as_str(),
            secrets::random_id()
        )
        .execute(self.db.pool())
        .await?;
        if ended.rows_affected() == 0 {
            return Ok(());
        }
        while self.leave_a_group(number).await? {}
        let mut after = String::new();
        loop {
            let mut tx = NetTx::begin(&self.db).await?;
            let Some(last) = tx.reset_watches(number, &after).await? else { break };
            tx.commit().await?;
            after = last;
        }
        while self.delete_slice(number).await? {}
        Ok(())
    }

    /// Deletes a slice of a subscriber's mailbox, watches and lists. False: there was nothing.
    async fn delete_slice(&self, number: &PhoneNumber) -> Result<bool, DbError> {
        for statement in [
            sqlx::query!(
                "DELETE FROM localnet_stanza WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM localnet_stanza WHERE recipient = $1 ORDER BY id LIMIT $2))",
                number.as_str(),
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM localnet_watch WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM localnet_watch WHERE watcher = $1 LIMIT $2))",
                number.as_str(),
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM localnet_contact WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM localnet_contact WHERE owner = $1 LIMIT $2))",
                number.as_str(),
                SLICE
            ),
            sqlx::query!(
                "DELETE FROM localnet_block WHERE ctid = ANY(ARRAY(
                     SELECT ctid FROM localnet_block WHERE owner = $1 LIMIT $2))",
                number.as_str(),
                SLICE
            ),
        ] {
            if statement.execute(self.db.pool()).await?.rows_affected() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
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
    /// Deletes a subscriber with what is left of its mailbox and lists, and notifies the watchers that know anything of it.
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
        let mut after = String::new();
        while let Some(last) = self.reset_watches(number, &after).await? {
            after = last;
        }
        sqlx::query!("DELETE FROM localnet_subscriber WHERE number = $1", number.as_str())
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Notifies a slice of a subscriber's watchers, in the order of their numbers, that it is gone. Returns the last one;
    /// `None`: there is none after `after`.
    async fn reset_watches(&mut self, number: &PhoneNumber, after: &str) -> Result<Option<String>, DbError> {
        // In the order of the primary key, which no other index has.
        let watchers = sqlx::query_scalar!(
            "SELECT watcher FROM (
                SELECT watched, watcher FROM localnet_watch WHERE (watched, watcher) > ($1, $2) AND watched <= $1
                ORDER BY watched, watcher LIMIT $3) w
             WHERE watched = $1",
            number.as_str(),
            after,
            SLICE
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let Some(last) = watchers.last().cloned() else { return Ok(None) };
        // As in `lock_watches`.
        sqlx::query!(
            "SELECT number FROM localnet_subscriber WHERE number = ANY($1) ORDER BY number FOR KEY SHARE",
            &watchers
        )
        .fetch_all(&mut *self.inner)
        .await?;
        sqlx::query!(
            "SELECT FROM localnet_watch WHERE (watched, watcher) > ($1, $2) AND (watched, watcher) <= ($1, $3)
             ORDER BY watched, watcher FOR NO KEY UPDATE",
            number.as_str(),
            after,
            last
        )
        .fetch_all(&mut *self.inner)
        .await?;
        let reset = sqlx::query_scalar!(
            "WITH reset AS (
                UPDATE localnet_watch SET told = '{}'
                WHERE (watched, watcher) > ($1, $2) AND (watched, watcher) <= ($1, $3) AND watcher <> $1 AND told <> '{}'
                RETURNING watcher)
             INSERT INTO localnet_stanza (recipient, sender, stanza) SELECT watcher, $1, $4 FROM reset
             RETURNING recipient",
            number.as_str(),
            after,
            last,
            Stanza::Gone.to_json()
        )
        .fetch_all(&mut *self.inner)
        .await?;
        for watcher in reset {
            self.notify_on_commit(mailbox_topic(&number_of(&watcher)?));
        }
        Ok(Some(last))
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
